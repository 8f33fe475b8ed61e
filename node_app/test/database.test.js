// Against a real MongoDB: the one that MONGODB_URI names, else a mongod from PATH, else skipped.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { getServers, promises as dns, setServers } from 'node:dns';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Long, MongoClient } from 'mongodb';
import { readConfig } from '../config.js';
import { Database, DatabaseUnavailable } from '../database.js';
import { toExtendedJson } from '../extended-json.js';

const NAME = `node_app_test_${randomUUID().slice(0, 8)}`;
const hasMongod = spawnSync('mongod', ['--version']).status === 0;
const skip = !process.env.MONGODB_URI && !hasMongod && 'needs MONGODB_URI, or mongod on PATH';

function open(settings = {}) {
  return new Database(readConfig({ MONGODB_DATABASE: NAME, ...settings }));
}

describe('with a database', { skip }, () => {
  let uri = process.env.MONGODB_URI;
  let mongod;
  let client;
  let articles;

  before(async () => {
    if (!uri) {
      mongod = await startMongod();
      ({ uri } = mongod);
    }
    client = new MongoClient(uri);
    articles = client.db(NAME).collection('articles');
  });

  beforeEach(() => articles.deleteMany({}));

  after(async () => {
    await client?.db(NAME).dropDatabase();
    await client?.close();
    await mongod?.stop();
    if (mongod) rmSync(mongod.data, { recursive: true });
  });

  test('finds a document, and nothing in an empty collection', async (t) => {
    const database = open({ MONGODB_URI: uri });
    t.after(() => database.close());
    assert.equal(await database.findFirst('articles', new EventEmitter()), null);
    await articles.insertOne({ _id: 1, n: Long.MAX_VALUE });
    const body = toExtendedJson(await database.findFirst('articles', new EventEmitter()));
    assert.equal(body.toString(), '{"_id":1,"n":9223372036854775807}');
  });

  test('asks once for each document', async (t) => {
    await articles.insertOne({ _id: 1 });
    const database = open({ MONGODB_URI: uri });
    t.after(() => database.close());
    // The server's own record of what it was asked.
    await client.db(NAME).command({ profile: 2 });
    for (let i = 0; i < 25; i++) await database.findFirst('articles', new EventEmitter());
    await client.db(NAME).command({ profile: 0 });
    const asked = await client.db(NAME).collection('system.profile').find({ ns: `${NAME}.articles` }).toArray();
    assert.deepEqual(new Set(asked.map(({ command }) => Object.keys(command)[0])), new Set(['find']));
    assert.equal(asked.length, 25);
  });

  test('gives a document with the names and the order that it is stored with', async (t) => {
    const database = open({ MONGODB_URI: uri });
    t.after(() => database.close());
    await articles.insertOne({ _id: 1, $ref: 'fs.files', $id: 5, $db: 'x', then: 1 });
    const body = toExtendedJson(await database.findFirst('articles', new EventEmitter())).toString();
    assert.equal(body, '{"_id":1,"$ref":"fs.files","$id":5,"$db":"x","then":1}');
  });

  test('finds where a look-up of the name takes longer than a connection may', async (t) => {
    t.mock.method(dns, 'lookup', async () => {
      await sleep(3000);
      return [{ address: '127.0.0.1', family: 4 }];
    });
    const database = open({ MONGODB_URI: uri.replace(/(\/\/|@)[^/@:]+:/, '$1slow.example:') });
    t.after(() => database.close());
    const started = performance.now();
    await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
    assert.ok(performance.now() - started < 2500);
    const deadline = started + 10_000;
    while (await database.findFirst('articles', new EventEmitter()).catch((error) => error) !== null) {
      assert.ok(performance.now() < deadline, 'never finds');
      await sleep(50);
    }
  });

  test('gives up after DB_TIMEOUT_MS', async (t) => {
    await articles.insertMany([{ _id: 1 }]);
    const database = open({ MONGODB_URI: uri, DB_TIMEOUT_MS: '1' });
    t.after(() => database.close());
    // Opening a connection takes longer than a millisecond.
    await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
  });

  const shared = process.env.MONGODB_URI && 'needs a mongod of its own, to stop it';
  test('finds again once the database is there', { skip: shared }, async (t) => {
    const database = open({ MONGODB_URI: uri });
    t.after(() => database.close());
    await mongod.stop();
    await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
    mongod = await startMongod(mongod);
    assert.equal(await database.findFirst('articles', new EventEmitter()), null);

    await mongod.stop();
    await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
    mongod = await startMongod(mongod);
    assert.equal(await database.findFirst('articles', new EventEmitter()), null);
  });
});

test('says within 2.5 s that nothing answers', async (t) => {
  const database = open({ MONGODB_URI: 'mongodb://127.0.0.1:1' });
  t.after(() => database.close());
  const started = performance.now();
  await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
  assert.ok(performance.now() - started < 2500);
});

test('says within 2.5 s that the DNS does not answer', async (t) => {
  const silent = createSocket('udp4').bind(0, '127.0.0.1');
  await once(silent, 'listening');
  const servers = getServers();
  setServers([`127.0.0.1:${silent.address().port}`]);
  const database = open({ MONGODB_URI: 'mongodb+srv://a.example.com' });
  t.after(async () => {
    setServers(servers);
    silent.close();
    await database.close();
  });
  for (let i = 0; i < 2; i++) {
    const started = performance.now();
    await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
    assert.ok(performance.now() - started < 2500);
  }
});

test('options in the MONGODB_URI win over the defaults', async (t) => {
  const database = open({ MONGODB_URI: 'mongodb://127.0.0.1:1/?serverselectiontimeoutms=50' });
  t.after(() => database.close());
  const started = performance.now();
  await assert.rejects(database.findFirst('articles', new EventEmitter()), DatabaseUnavailable);
  assert.ok(performance.now() - started < 1000);
});

// Starts a mongod on loopback; on the port and with the data of an earlier one where that is given.
async function startMongod({ port, data } = {}) {
  data ??= mkdtempSync(join(tmpdir(), 'mongod-'));
  port ??= await freePort();
  const flags = ['--dbpath', data, '--bind_ip', '127.0.0.1', '--port', String(port), '--nounixsocket', '--quiet'];
  const server = spawn('mongod', flags, { stdio: 'ignore' });
  const ended = once(server, 'exit');
  const uri = `mongodb://127.0.0.1:${port}`;
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 30_000 });
  await client.connect();
  await client.close();
  return {
    uri, port, data,
    async stop() {
      server.kill('SIGTERM');
      await Promise.race([ended, sleep(20_000, undefined, { ref: false })]);
    },
  };
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}
