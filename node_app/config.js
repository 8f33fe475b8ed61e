// The settings, read once from environment variables. README.md lists them with their defaults.

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { inspect } from 'node:util';

const DATABASE_NAME = /^[^\0/\\. "$*<>:|?]{1,63}$/;
const LONGEST_SLEEP_MS = 10_000;

/** A variable has a value that cannot be used. The message is one line that names it. */
export class BadSetting extends Error {}

/**
 * @typedef {object} Config
 * @property {string} host
 * @property {number} port
 * @property {string} mongodbUri
 * @property {string} mongodbDatabase
 * @property {number} maxPoolSize connections of one process to the database
 * @property {number} workers processes
 * @property {number} dbTimeoutMs the most that a request waits for a connection and for the operation
 * @property {number} drainTimeoutMs the most that a worker takes, after it was told to stop, to answer what it accepted
 * @property {boolean} accessLog
 */

/**
 * @param {Record<string, string | undefined>} environment
 * @returns {Config}
 * @throws {BadSetting} for the first variable that cannot be used
 */
export function readConfig(environment) {
  // An empty variable counts as one that is not set.
  const text = (name, fallback) => environment[name] || fallback;

  const integer = (name, fallback, { least = 1, most }) => {
    const given = text(name, String(fallback));
    const value = Number(given);
    if (!/^[0-9]{1,9}$/.test(given) || value < least || value > most) {
      throw new BadSetting(`${name} must be an integer from ${least} to ${most}, not ${quoted(given)}`);
    }
    return value;
  };

  const mongodbDatabase = text('MONGODB_DATABASE', 'articles');
  if (!DATABASE_NAME.test(mongodbDatabase)) {
    throw new BadSetting(`MONGODB_DATABASE must be a valid database name, not ${quoted(mongodbDatabase)}`);
  }
  const dbTimeoutMs = integer('DB_TIMEOUT_MS', 10_000, { most: 600_000 });
  // Other kinds of servers use these two, an event loop neither. A wrong value is a mistake here as well.
  integer('THREADS', 1, { most: 10_000 });
  integer('WORKER_CONNECTIONS', 5000, { most: 100_000 });

  return {
    host: text('HOST', '127.0.0.1'),
    port: integer('PORT', 5000, { most: 65_535 }),
    mongodbUri: text('MONGODB_URI', 'mongodb://127.0.0.1:27017'),
    mongodbDatabase,
    maxPoolSize: integer('MONGODB_MAX_POOL_SIZE', 100, { most: 100_000 }),
    workers: integer('WEB_CONCURRENCY', usableCpus(), { most: 1000 }),
    dbTimeoutMs,
    drainTimeoutMs: Math.max(LONGEST_SLEEP_MS, dbTimeoutMs) + 2500,
    accessLog: integer('ACCESS_LOG', 0, { least: 0, most: 1 }) === 1,
  };
}

/**
 * How many CPUs this process may use: its affinity, and its container's CPU quota rounded up.
 *
 * @param {string} [cgroup] where the control groups are mounted
 * @returns {number} at least 1
 */
export function usableCpus(cgroup = '/sys/fs/cgroup') {
  const quota = quotaV2(`${cgroup}/cpu.max`) ?? quotaV1(`${cgroup}/cpu`) ?? Infinity;
  return Math.max(1, Math.min(availableParallelism(), Math.ceil(quota)));
}

// On one line whatever it holds.
function quoted(value) {
  return inspect(value, { breakLength: Infinity });
}

function quotaV2(file) {
  const [quota, period] = read(file).split(' ').map(Number);
  return quota / period || undefined; // "max", which is no number, means no quota.
}

function quotaV1(folder) {
  const quota = Number(read(`${folder}/cpu.cfs_quota_us`));
  return quota > 0 ? quota / Number(read(`${folder}/cpu.cfs_period_us`)) : undefined;
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // Not Linux, or the other version of control groups.
  }
}
