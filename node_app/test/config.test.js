import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BadSetting, readConfig, usableCpus } from '../config.js';

test('every setting has a default', () => {
  assert.deepEqual(readConfig({}), {
    host: '127.0.0.1',
    port: 5000,
    mongodbUri: 'mongodb://127.0.0.1:27017',
    mongodbDatabase: 'articles',
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
]) {
  test(`${name}=${JSON.stringify(value)} is refused in one line that names it`, () => {
    assert.throws(
      () => readConfig({ [name]: value }),
      ({ constructor, message }) => constructor === BadSetting && message.startsWith(name) && !message.includes('\n'),
    );
  });
}

test('the CPU quota of a container counts, rounded up and never below 1', (t) => {
  const cgroup = mkdtempSync(join(tmpdir(), 'cgroup-'));
  t.after(() => rmSync(cgroup, { recursive: true }));
  const quotaV2 = (text) => {
    writeFileSync(join(cgroup, 'cpu.max'), text);
    return usableCpus(cgroup);
  };
  assert.equal(quotaV2('max 100000\n'), availableParallelism());
  assert.equal(quotaV2('50000 100000\n'), 1);
  assert.equal(quotaV2('150000 100000\n'), Math.min(2, availableParallelism()));
  assert.equal(quotaV2('99900000 100000\n'), availableParallelism());

  rmSync(join(cgroup, 'cpu.max'));
  mkdirSync(join(cgroup, 'cpu'));
  writeFileSync(join(cgroup, 'cpu', 'cpu.cfs_period_us'), '100000\n');
  writeFileSync(join(cgroup, 'cpu', 'cpu.cfs_quota_us'), '100000\n');
  assert.equal(usableCpus(cgroup), 1);
  writeFileSync(join(cgroup, 'cpu', 'cpu.cfs_quota_us'), '-1\n');
  assert.equal(usableCpus(cgroup), availableParallelism());
});
