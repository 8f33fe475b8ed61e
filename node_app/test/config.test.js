import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { BadSetting, readConfig, usableCpus } from '../config.js';

test('every setting has a default', () => {
  assert.deepEqual(readConfig({}), {
    hosts: ['127.0.0.1'],
    port: 5000,
    mongodbUri: 'mongodb://127.0.0.1:27017',
    mongodbDatabase: 'articles',
    documentBytes: readConfig({}).documentBytes,
    maxPoolSize: 100,
    workers: usableCpus(),
    dbTimeoutMs: 10_000,
    drainTimeoutMs: 12_500,
    accessLog: false,
  });
});

test('an empty variable counts as one that is not set', () => {
  const names = ['HOST', 'PORT', 'MONGODB_URI', 'MONGODB_DATABASE', 'MONGODB_MAX_POOL_SIZE', 'WEB_CONCURRENCY'];
  const empty = Object.fromEntries([...names, 'DB_TIMEOUT_MS', 'ACCESS_LOG'].map((name) => [name, '']));
  assert.deepEqual(readConfig(empty), readConfig({}));
});

test('what is set is taken', () => {
  const config = readConfig({ PORT: '8080', WEB_CONCURRENCY: '3', DB_TIMEOUT_MS: '60000', ACCESS_LOG: '1' });
  assert.equal(config.port, 8080);
  assert.equal(config.workers, 3);
  assert.equal(config.drainTimeoutMs, 62_500);
  assert.equal(config.accessLog, true);
});

for (const [environment, database] of [
  [{}, 'articles'],
  [{ MONGODB_URI: 'mongodb://h' }, 'articles'],
  [{ MONGODB_URI: 'mongodb://h/?tls=true' }, 'articles'],
  [{ MONGODB_URI: 'mongodb://me:pass@h1,h2:27018/mine?replicaSet=rs' }, 'mine'],
  [{ MONGODB_URI: 'mongodb+srv://h/mi%6Ee' }, 'mine'],
  [{ MONGODB_URI: 'mongodb://%2Ftmp%2Fmongodb.sock/mine' }, 'mine'],
  [{ MONGODB_URI: 'mongodb://h/mine', MONGODB_DATABASE: 'theirs' }, 'theirs'],
]) {
  test(`${JSON.stringify(environment)} reads from ${database}`, () => {
    assert.equal(readConfig(environment).mongodbDatabase, database);
  });
}

test('documents get a part of the memory, less where there are many processes', () => {
  const bytes = (workers) => readConfig({ WEB_CONCURRENCY: String(workers) }).documentBytes;
  assert.ok(bytes(1) <= 512 * 1024 * 1024);
  assert.ok(bytes(1000) < bytes(1));
  assert.ok(bytes(1000) > 0);
});

for (const [name, value] of [
  ['PORT', 'abc'],
  ['PORT', '0'],
  ['PORT', '65536'],
  ['PORT', '80.0'],
  ['PORT', ' 80'],
  ['WEB_CONCURRENCY', '0'],
  ['MONGODB_MAX_POOL_SIZE', '-1'],
  ['DB_TIMEOUT_MS', '600001'],
  ['ACCESS_LOG', '2'],
  ['THREADS', '0'],
  ['WORKER_CONNECTIONS', '-5'],
  ['MONGODB_DATABASE', 'a.b'],
  ['MONGODB_DATABASE', 'x'.repeat(64)],
  ['MONGODB_DATABASE', 'a line\n'.repeat(20)],
  ['MONGODB_URI', 'mongodb://h/a.b'],
]) {
  test(`${name}=${JSON.stringify(value)} is refused in one line that names it`, () => {
    assert.throws(
      () => readConfig({ [name]: value }),
      ({ constructor, message }) => constructor === BadSetting && message.startsWith(name) && !message.includes('\n'),
    );
  });
}

for (const [what, files, cpus] of [
  ['no quota', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': 'max 100000' }, Infinity],
  ['half a CPU', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '50000 100000' }, 1],
  ['one and a half', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '150000 100000' }, 2],
  ['many', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '99900000 100000' }, Infinity],
  ['its own group', { 'proc/self/cgroup': '0::/a/b', 'sys/fs/cgroup/a/b/cpu.max': '100000 100000' }, 1],
  ['the group around', {
    'proc/self/cgroup': '0::/a/b', 'sys/fs/cgroup/a/b/cpu.max': 'max 100000', 'sys/fs/cgroup/a/cpu.max': '9 10',
  }, 1],
  ['version 1', {
    'proc/self/cgroup': '9:name=systemd:/\n3:cpuset:/x\n2:cpuacct,cpu:/a\n0::/',
    'sys/fs/cgroup/cpu/a/cpu.cfs_quota_us': '100000', 'sys/fs/cgroup/cpu/a/cpu.cfs_period_us': '100000',
  }, 1],
  ['version 1 in a container, which does not see the path', {
    'proc/self/cgroup': '1:cpu:/docker/a',
    'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '100000', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
  }, 1],
  ['version 1 without a quota', {
    'proc/self/cgroup': '1:cpu:/',
    'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
  }, Infinity],
  ['another system', {}, Infinity],
]) {
  test(`the CPU quota counts, rounded up: ${what}`, (t) => {
    const root = mkdtempSync(join(tmpdir(), 'cgroup-'));
    t.after(() => rmSync(root, { recursive: true }));
    for (const [file, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), `${content}\n`);
    }
    assert.equal(usableCpus(root), Math.min(cpus, availableParallelism()));
  });
}
