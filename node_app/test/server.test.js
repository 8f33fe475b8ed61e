// The real processes: `node server.js` with settings, signals and killed workers. None of it needs a database.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

const WAIT_MS = 15_000;

let server;
afterEach(() => server?.process.kill('SIGKILL'));

// Starts a server on a port of its own. `output` is what it has written so far.
async function start(settings = {}) {
  const port = settings.PORT ?? String(await freePort());
  // Nothing listens on port 1.
  const defaults = { MONGODB_URI: 'mongodb://127.0.0.1:1', WEB_CONCURRENCY: '2' };
  const started = spawn(process.execPath, ['server.js'], {
    cwd: new URL('..', import.meta.url),
    env: { ...process.env, ...defaults, ...settings, PORT: port },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  server = { process: started, output: '', url: `http://127.0.0.1:${port}`, ended: once(started, 'close') };
  for (const stream of [started.stdout, started.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (server.output += text));
  }
  return server;
}

async function startServing(settings) {
  await start(settings);
  await until(() => servingPids().length === Number(settings?.WEB_CONCURRENCY ?? 2));
  return server;
}

// A process announces itself once it serves.
function servingPids() {
  return events().filter(({ msg }) => msg.startsWith('serving on')).map(({ pid }) => pid);
}

function events() {
  return server.output.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
}

async function until(condition) {
  const deadline = Date.now() + WAIT_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`not within ${WAIT_MS} ms: ${condition}\n${server.output}`);
    await sleep(20);
  }
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function exchange(host, port, request) {
  const socket = connect(port, host);
  socket.write(request);
  return text(socket);
}

for (const [settings, line] of [
  [{ PORT: 'abc' }, /^PORT must be an integer from 1 to 65535, not 'abc'\n$/],
  [{ WEB_CONCURRENCY: '0' }, /^WEB_CONCURRENCY must be an integer from 1 to 1000, not '0'\n$/],
  [{ MONGODB_URI: 'mongodb://me:secret/x@h' }, /^MONGODB_URI must be a MongoDB connection string that .*\n$/],
  [{ MONGODB_URI: 'mongodb://h/?maxPoolSize=many' }, /^MONGODB_URI must be a MongoDB connection string that .*\n$/],
  [{ MONGODB_URI: 'mongodb://h/?tlsCAFile=/nowhere' }, /^MONGODB_URI: tlsCAFile \/nowhere cannot be used: ENOENT.*\n$/],
  [{ MONGODB_URI: 'mongodb://h/?timeoutMS=1' }, /^MONGODB_URI: timeoutMS cannot be obeyed: .*\n$/],
  [{ HOST: 'no-such-host.invalid' }, /^HOST no-such-host\.invalid, PORT \d+ cannot be listened on: E\w+\n$/],
  [{ HOST: '203.0.113.7' }, /^HOST 203\.0\.113\.7, PORT \d+ cannot be listened on: EADDRNOTAVAIL\n$/],
]) {
  test(`${Object.entries(settings)[0].join('=')} ends the start with one line and status 2`, async () => {
    const { ended } = await start(settings);
    assert.deepEqual(await ended, [2, null]);
    assert.match(server.output, line);
  });
}

test('a port in use ends the start with one line and status 2', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  const { port } = other.address();
  const { ended } = await start({ PORT: String(port) });
  assert.deepEqual(await ended, [2, null]);
  assert.equal(server.output, `PORT ${port} is in use on 127.0.0.1: stop what listens there, or set another PORT\n`);
});

test('a port that another of these servers has ends the start with one line and status 2', async (t) => {
  const { process: first, ended: firstEnded, url } = await startServing();
  t.after(() => first.kill('SIGKILL'));
  const { ended } = await start({ PORT: new URL(url).port });
  assert.deepEqual(await ended, [2, null]);
  assert.match(server.output, /^PORT \d+ is in use on 127\.0\.0\.1: .*\n$/);
  first.kill('SIGTERM');
  assert.deepEqual(await firstEnded, [0, null]);
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
  test(`${signal} lets every worker answer what it has accepted`, async () => {
    const { url, ended, process: first } = await startServing();
    const replies = Array.from({ length: 20 }, () => fetch(`${url}/sleep?ms=600`).then((reply) => reply.text()));
    await sleep(300); // Until the requests have come in, which nothing outside shows.
    first.kill(signal);
    assert.deepEqual(new Set(await Promise.all(replies)), new Set(['{"slept_ms":600}']));
    assert.deepEqual(await ended, [0, null]);
    assert.deepEqual(servingPids().filter(isRunning), []);
  });
}

test('a stop that is told twice, to all processes, is one stop', async () => {
  const { url, ended, process: first } = await startServing();
  const replies = Array.from({ length: 8 }, () => fetch(`${url}/sleep?ms=1000`).then((reply) => reply.text()));
  await sleep(300); // Until the requests have come in, which nothing outside shows.
  for (const pause of [100, 300, 0]) {
    for (const pid of [...servingPids(), first.pid]) process.kill(pid, 'SIGTERM');
    await sleep(pause);
  }
  assert.deepEqual(new Set(await Promise.all(replies)), new Set(['{"slept_ms":1000}']));
  assert.deepEqual(await ended, [0, null]);
});

test('every address of HOST is served alike', async (t) => {
  const addresses = (await lookup('localhost', { all: true })).map(({ address }) => address);
  // Every Linux has these two, and `localhost` is one of them or both.
  const hosts = new Set([...addresses, '127.0.0.1', '127.0.0.2']);
  const { ended, url, process: first } = await startServing({ HOST: [...hosts].join(' '), WEB_CONCURRENCY: '1' });
  const { port } = new URL(url);
  const replies = [];
  for (const host of hosts) {
    const refused = await exchange(host, port, 'GET /mongo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n');
    assert.match(refused, /^HTTP\/1\.1 400 .*\{"error":"bad request"\}$/s);
    assert.match(await exchange(host, port, 'CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n'), /^HTTP\/1\.1 405 /);
    replies.push(exchange(host, port, 'GET /sleep?ms=1500 HTTP/1.1\r\nHost: x\r\n\r\n'));
    const idle = connect(port, host);
    t.after(() => idle.destroy());
  }
  await sleep(300); // Until the requests have come in, which nothing outside shows.
  first.kill('SIGTERM');
  for (const reply of await Promise.all(replies)) assert.match(reply, /connection: close.*\{"slept_ms":1500\}$/is);
  assert.deepEqual(await ended, [0, null]);
});

test('says which database it reads, and what of the environment the workers do without', async () => {
  const uri = 'mongodb://me:secret@127.0.0.1:1/mine';
  const settings = { MONGODB_URI: uri, NODE_OPTIONS: '--max-http-header-size=600' };
  const { ended, process: first } = await startServing(settings);
  const said = events().map(({ msg }) => msg);
  assert.equal(said.filter((msg) => msg === 'documents: database mine of 127.0.0.1:1').length, 1);
  assert.equal(said.filter((msg) => /^the workers do without .*NODE_OPTIONS/.test(msg)).length, 1);
  assert.doesNotMatch(server.output, /secret/);
  const headers = { x: 'a'.repeat(2000) };
  assert.equal((await fetch(`${server.url}/sleep?ms=0`, { headers })).status, 200);
  first.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('a worker that is killed is replaced, and the server answers meanwhile', async () => {
  const { url, ended, process: first } = await startServing();
  const [killed] = servingPids();
  process.kill(killed, 'SIGKILL');
  await until(() => servingPids().length === 3);
  assert.equal((await fetch(`${url}/sleep?ms=0`)).status, 200);
  assert.match(server.output, new RegExp(`worker ${killed} ended \\(SIGKILL\\): starting another`));
  first.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('workers that cannot start again do not go on for ever', async (t) => {
  const { ended } = await startServing({ WEB_CONCURRENCY: '1' });
  const port = Number(new URL(server.url).port);
  process.kill(servingPids()[0], 'SIGKILL');
  // With its only worker the server has lost its port. Another program takes it.
  const other = createServer();
  t.after(() => other.close());
  await until(() => new Promise((resolve) => {
    other.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
  }));
  assert.deepEqual(await ended, [1, null]);
  assert.match(server.output, /5 workers in a row ended before they served: stopping/);
});

test('no worker outlives a killed first process', async () => {
  const { ended, process: first } = await startServing();
  const workers = servingPids();
  first.kill('SIGKILL');
  await ended;
  await until(() => !workers.some(isRunning));
});

test('without its database the server starts, answers 503 and stops', async () => {
  const { url, ended, process: first } = await startServing({ WEB_CONCURRENCY: '1' });
  for (let i = 0; i < 2; i++) {
    const started = performance.now();
    const reply = await fetch(`${url}/mongo`);
    assert.equal(reply.status, 503);
    assert.equal(reply.headers.get('retry-after'), '1');
    assert.ok(performance.now() - started < 2500);
  }
  first.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('a Node.js that is too old is told which one is needed', async () => {
  const pretend = 'Object.defineProperty(process, "versions", { value: { node: "20.18.3" } })';
  const preload = `data:text/javascript,${encodeURIComponent(pretend)}`;
  const old = spawn(process.execPath, ['--import', preload, 'server.js'], { cwd: new URL('..', import.meta.url) });
  let output = '';
  old.stderr.setEncoding('utf8').on('data', (text) => (output += text));
  assert.deepEqual(await once(old, 'close'), [2, null]);
  assert.match(output, /^Node\.js 20\.19 or newer is needed, this is v[\d.]+\n$/);
});
