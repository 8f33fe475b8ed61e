// The settings, read once from environment variables. README.md lists them with their defaults.

import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';

const DATABASE_NAME = /^[^\0/\\. "$*<>:|?]{1,63}$/;
const LONGEST_SLEEP_MS = 10_000;
// The most that one process spends on documents: a few of the largest at once, thousands of ordinary ones.
const MOST_DOCUMENT_BYTES = 256 * 1024 * 1024;

// On one line whatever it holds.
const quoted = (value) => inspect(value, { breakLength: Infinity });

/** A variable has a value that cannot be used. The message is one line that names it. */
export class BadSetting extends Error {}

/**
 * @typedef {object} Config
 * @property {string[]} hosts names or addresses
 * @property {number} port
 * @property {string} mongodbUri
 * @property {string} mongodbDatabase
 * @property {number} documentBytes the memory of one process for documents, see memory.js
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

  const mongodbUri = text('MONGODB_URI', 'mongodb://127.0.0.1:27017');
  const mongodbDatabase = text('MONGODB_DATABASE', databaseIn(mongodbUri) || 'articles');
  if (!DATABASE_NAME.test(mongodbDatabase)) {
    const source = environment.MONGODB_DATABASE ? 'MONGODB_DATABASE' : 'MONGODB_URI';
    throw new BadSetting(`${source} must name a valid database, not ${quoted(mongodbDatabase)}`);
  }
  const dbTimeoutMs = integer('DB_TIMEOUT_MS', 10_000, { most: 600_000 });
  // Other kinds of servers use these two, an event loop neither. A wrong value is a mistake here as well.
  integer('THREADS', 1, { most: 10_000 });
  integer('WORKER_CONNECTIONS', 5000, { most: 100_000 });

  const workers = integer('WEB_CONCURRENCY', usableCpus(), { most: 1000 });
  const memory = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  return {
    // The first process hands the addresses of HOST to the others as a list.
    hosts: text('HOST', '127.0.0.1').split(' '),
    port: integer('PORT', 5000, { most: 65_535 }),
    mongodbUri,
    mongodbDatabase,
    documentBytes: Math.min(MOST_DOCUMENT_BYTES, memory / 4 / workers),
    maxPoolSize: integer('MONGODB_MAX_POOL_SIZE', 100, { most: 100_000 }),
    workers,
    dbTimeoutMs,
    drainTimeoutMs: Math.max(LONGEST_SLEEP_MS, dbTimeoutMs) + 2500,
    accessLog: integer('ACCESS_LOG', 0, { least: 0, most: 1 }) === 1,
  };
}

/** How many CPUs this process may use: its affinity, and the quotas of its control group and of those around it. */
export function usableCpus(root = '/') {
  // Version 2 names no controllers. A container may see its own group at the root, and not know this path.
  const groups = [...read(join(root, 'proc/self/cgroup')).matchAll(/^\d+:(|[^:]*\bcpu\b[^:]*):(.*)$/gm)];
  const quotas = groups.flatMap(([, controllers, path]) => {
    const mounted = join(root, 'sys/fs/cgroup', controllers && 'cpu');
    return [...path.matchAll(/\/|$/g)].map(({ index }) => quotaOf(join(mounted, path.slice(0, index))));
  });
  return Math.max(1, Math.ceil(Math.min(availableParallelism(), ...quotas)));
}

function quotaOf(group) {
  const [quota, period] = (read(join(group, 'cpu.max'))
    || `${read(join(group, 'cpu.cfs_quota_us'))} ${read(join(group, 'cpu.cfs_period_us'))}`).split(' ').map(Number);
  return quota > 0 ? quota / period : Infinity; // "max", which is no number, and -1 mean no quota.
}

function databaseIn(uri) {
  try {
    return decodeURIComponent(uri.match(/^[^/]*:\/\/[^/?]*\/([^?]*)/)?.[1] ?? '');
  } catch {
    return ''; // The driver refuses it.
  }
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // Not Linux, or the other version of control groups.
  }
}
