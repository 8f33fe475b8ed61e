import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, test } from 'node:test';
import { Long, ObjectId } from 'mongodb';
import pino from 'pino';
import { buildApp } from '../app.js';
import { DatabaseUnavailable } from '../database.js';

const SMALL = { _id: new ObjectId('53909ff6e4b0f0a1c2d3e401'), canonicalUrl: 'http://foo.com' };
const SMALL_BODY = '{"_id":{"$oid":"53909ff6e4b0f0a1c2d3e401"},"canonicalUrl":"http://foo.com"}';

let app;
let logged;
afterEach(() => app?.close());

// The application with a database that answers with what `documents` holds, or throws it.
function build(documents = {}, options = {}) {
  logged = [];
  const database = {
    async findFirst(collection) {
      const found = documents[collection] ?? null;
      if (found instanceof Error) throw found;
      return found;
    },
  };
  const log = pino({ level: 'info' }, { write: (line) => logged.push(JSON.parse(line)) });
  app = buildApp({ database, log, ...options });
  return app;
}

const get = (url, options) => app.inject({ url, ...options });

// One connection, what is sent on it, and all that comes back until it closes.
async function exchange(...parts) {
  const socket = connect(app.server.address().port, '127.0.0.1');
  for (const part of parts) socket.write(part);
  return text(socket);
}

test('serves the document of each collection', async () => {
  build({ articles: SMALL, articles_big: { n: Long.MAX_VALUE } });
  const small = await get('/mongo');
  assert.equal(small.statusCode, 200);
  assert.equal(small.headers['content-type'], 'application/json');
  assert.equal(small.headers['content-length'], '75');
  assert.equal(small.body, SMALL_BODY);
  assert.equal((await get('/mongo_big')).body, '{"n":9223372036854775807}');
});

test('answers HEAD with the head of GET', async () => {
  build({ articles: SMALL });
  for (const url of ['/mongo', '/mongo_big', '/sleep?ms=1', '/sleep?ms=x', '/nope']) {
    const whole = await get(url);
    const head = await get(url, { method: 'HEAD' });
    assert.equal(head.statusCode, whole.statusCode, url);
    assert.equal(head.headers['content-length'], whole.headers['content-length'], url);
    assert.equal(head.headers['content-type'], whole.headers['content-type'], url);
    assert.equal(head.body, '', url);
  }
});

test('says when there is no document', async () => {
  build();
  const reply = await get('/mongo');
  assert.equal(reply.statusCode, 404);
  assert.equal(reply.headers['content-type'], 'application/json');
  assert.equal(reply.body, '{"error":"no document"}');
});

for (const url of ['/', '/nope', '/mongo/', '//mongo', '/MONGO', '/%zz', '/mongo%ff', '/mongo/1']) {
  test(`knows no ${url}`, async () => {
    build({ articles: SMALL });
    const reply = await get(url);
    assert.equal(reply.statusCode, 404);
    assert.equal(reply.headers['content-type'], 'application/json');
    assert.equal(reply.body, '{"error":"not found"}');
  });
}

for (const url of ['/%6Dongo', '/mong%6f', '/mongo?', '/mongo?a;b', 'http://host/mongo', 'HTTP://h:1/mongo?x=y']) {
  test(`knows ${url} as /mongo`, async () => {
    build({ articles: SMALL });
    await app.listen({ port: 0, host: '127.0.0.1' });
    const reply = await exchange(`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(reply, /^HTTP\/1\.1 200 /);
    assert.ok(reply.endsWith(SMALL_BODY));
  });
}

for (const url of [
  'http://host', 'http://host?/mongo', 'http://host/', '/mongo%2F', '/mongo;x', '/%256Dongo', '/./mongo',
]) {
  test(`does not know ${url} as /mongo`, async () => {
    build({ articles: SMALL });
    await app.listen({ port: 0, host: '127.0.0.1' });
    const reply = await exchange(`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(reply, /^HTTP\/1\.1 404 /);
  });
}

for (const lines of [
  'Connection: close', 'Connection: TE, close', 'connection: keep-alive,Close', 'Connection: close ',
  'Connection:\tclose,,', 'Connection: TE\r\nConnection: close',
  'Connection: keep-alive\r\nX: y\r\nConnection: TE , close',
]) {
  test(`closes after ${JSON.stringify(lines)}`, async () => {
    build({ articles: SMALL });
    await app.listen({ port: 0, host: '127.0.0.1' });
    for (const path of ['/mongo', '/nope', '/sleep?ms=0']) {
      const reply = await exchange(`GET ${path} HTTP/1.1\r\nHost: x\r\n${lines}\r\n\r\n`);
      assert.match(reply, /^HTTP\/1\.1 .*\r\nconnection: close\r\n/is);
    }
  });
}

for (const lines of [
  'Connection: keep-alive', 'Connection: TE', 'Connection: closed', 'Connection: not-close', 'X: close',
]) {
  test(`stays open after ${JSON.stringify(lines)}`, async () => {
    build({ articles: SMALL });
    await app.listen({ port: 0, host: '127.0.0.1' });
    const replies = await exchange(
      `GET /mongo HTTP/1.1\r\nHost: x\r\n${lines}\r\n\r\n`,
      'GET /sleep?ms=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    assert.match(replies, /foo\.com"\}HTTP\/1\.1 200 OK\r\n.*\{"slept_ms":0\}$/s);
  });
}

for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'QUERY']) {
  test(`refuses ${method} before it looks at a body`, async () => {
    build({ articles: SMALL });
    const odd = { method, payload: '{', headers: { 'content-type': 'application/json; no' } };
    for (const url of ['/mongo', '/mongo_big', '/sleep']) {
      const reply = await get(url, odd);
      assert.equal(reply.statusCode, 405);
      assert.equal(reply.headers.allow, 'GET, HEAD');
      assert.equal(reply.body, '{"error":"method not allowed"}');
    }
    assert.equal((await get('/nope', odd)).statusCode, 404);
  });
}

test('sleeps', async () => {
  build();
  const started = performance.now();
  assert.equal((await get('/sleep?ms=50')).body, '{"slept_ms":50}');
  assert.ok(performance.now() - started >= 49);
});

for (const [query, ms] of [
  ['', 1000],
  ['?MS=0', 1000],
  ['?ms=0', 0],
  ['?ms=00005', 5],
  ['?ms=%31', 1],
  ['?x=y&ms=2', 2],
  ['?x=y;ms=2&ms=3', 3],
  ['?%6ds=4', 4],
  ['?ms[]=1&ms=5', 5],
  ['?x=%zz&ms=6', 6],
  ['?&&ms=7&', 7],
  [`?${'x&'.repeat(2000)}ms=8`, 8],
  ['?;ms=1', 1000],
]) {
  test(`/sleep${query} sleeps ${ms} ms`, async () => {
    build();
    assert.equal((await get(`/sleep${query}`)).body, `{"slept_ms":${ms}}`);
  });
}

for (const query of [
  ...['ms', 'ms=', 'ms=-1', 'ms=+5', 'ms=1.0', 'ms=1e3', 'ms=10001', 'ms=99999', 'ms=000001', 'ms=1&ms=2'],
  ...['ms=1;ms=1', 'ms=1;', 'ms=%D9%A1', 'ms=5%0A', 'ms=%205'],
]) {
  test(`/sleep?${query} is refused`, async () => {
    build();
    const reply = await get(`/sleep?${query}`);
    assert.equal(reply.statusCode, 400);
    assert.equal(reply.headers['content-type'], 'application/json');
    assert.equal(reply.body, '{"error":"ms must be an integer from 0 to 10000"}');
  });
}

test('answers 503 for a database that is not there, and logs one line without a trace', async () => {
  build({ articles: new DatabaseUnavailable('connect ECONNREFUSED') });
  const reply = await get('/mongo');
  assert.equal(reply.statusCode, 503);
  assert.equal(reply.headers['retry-after'], '1');
  assert.equal(reply.body, '{"error":"database unavailable"}');
  assert.deepEqual(logged.map(({ msg, err }) => ({ msg, err })), [
    { msg: '/mongo: database unavailable (connect ECONNREFUSED)', err: undefined },
  ]);
});

test('answers 500 for a bug, and keeps its trace in the log', async () => {
  build({ articles: { f() {} }, articles_big: new Error('secret') });
  for (const url of ['/mongo', '/mongo_big']) {
    const reply = await get(url);
    assert.equal(reply.statusCode, 500);
    assert.equal(reply.headers['content-type'], 'application/json');
    assert.equal(reply.body, '{"error":"internal error"}');
  }
  assert.equal(logged.length, 2);
  assert.match(logged[1].err.stack, /secret\n +at /);
});

test('logs a request only where that is asked for', async () => {
  build({ articles: SMALL });
  await get('/mongo');
  assert.deepEqual(logged, []);
  await app.close();

  build({ articles: SMALL }, { accessLog: true });
  await get('/mongo?a=b');
  assert.equal(logged.length, 1);
  assert.equal(logged[0].req.url, '/mongo?a=b');
  assert.equal(logged[0].res.statusCode, 200);
});

test('is not confused by a GET with a body', async () => {
  build({ articles: SMALL });
  await app.listen({ port: 0, host: '127.0.0.1' });
  const replies = await exchange(
    'GET /mongo HTTP/1.1\r\nHost: x\r\nContent-Type: odd\r\nContent-Length: 5\r\n\r\nhello',
    'GET /sleep?ms=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  );
  assert.match(replies, /^HTTP\/1\.1 200 OK\r\n.*foo\.com"\}HTTP\/1\.1 200 OK\r\n.*\{"slept_ms":0\}$/s);
});

for (const [what, request, status] of [
  ['no HTTP at all', '\x16\x03\x01\x02\r\n\r\n', 400],
  ['a wrong length', 'GET /mongo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', 400],
  ['chunks', 'GET /mongo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
  ['no Host', 'GET /mongo HTTP/1.1\r\n\r\n', 400],
  ['a head without end', `GET /mongo HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  ['CONNECT', 'CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n', 405],
]) {
  test(`answers ${what} in JSON and closes`, async () => {
    build({ articles: SMALL });
    await app.listen({ port: 0, host: '127.0.0.1' });
    const [head, body] = (await exchange(request)).split('\r\n\r\n');
    assert.match(head, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.match(head, /content-type: application\/json(\r|$)/i);
    assert.match(head, /connection: close/i);
    assert.match(head, new RegExp(`content-length: ${body.length}(\r|$)`, 'i'));
    assert.ok(JSON.parse(body).error);
  });
}

test('answers what it has accepted when it closes, and says that it closes', async () => {
  build();
  await app.listen({ port: 0, host: '127.0.0.1' });
  const reply = exchange('GET /sleep?ms=200 HTTP/1.1\r\nHost: x\r\n\r\n');
  while ((await connections(app.server)) === 0) await sleep(5);
  await sleep(50); // Until the request itself has come, which nothing outside shows.
  await app.close();
  assert.match(await reply, /connection: close\r\n.*\{"slept_ms":200\}$/is);
});

function connections(server) {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}
