// The first process: it starts the workers, replaces those that die, and stops them all.

import cluster from 'node:cluster';
import { freeAddresses } from './listening.js';
import { log } from './log.js';

// Starting takes a fraction of a second. A worker that dies sooner than this will probably die again.
const SHORT_LIFE_MS = 5000;
const FIRST_PAUSE_MS = 250;
// A worker is replaced within 3 s, its own start included.
const LONGEST_PAUSE_MS = 2000;
// So many workers in a row that die before they listen will not be followed by one that lives.
const MOST_FAILED_STARTS = 5;
const KILL_AFTER_DRAIN_MS = 1000;

/** @param {import('./config.js').Config} config */
export async function supervise(config) {
  const { workers, drainTimeoutMs } = config;
  const HOST = (await freeAddresses(config)).join(' ');
  // Node reads these by itself, such as NODE_OPTIONS. They would change what the workers serve, and whom they trust.
  const dropped = Object.keys(process.env).filter((name) => /^NODE_(?!(ENV|EXTRA_CA_CERTS)$)/.test(name));
  for (const name of dropped) delete process.env[name];
  let everListened = false;
  let failedStarts = 0;
  let shortLives = 0;
  let stopping = false;

  const start = () => {
    if (stopping) return;
    const worker = cluster.fork({ HOST });
    const started = Date.now();
    let listening = false;

    // node:cluster's own event of this name does not come from a worker with a socket of its own.
    worker.once('message', () => {
      listening = true;
      failedStarts = 0;
      if (everListened) return;
      everListened = true;
      if (dropped.length > 0) log.warn('the workers do without %s of the environment', dropped.join(', '));
      // Only now the others: what keeps one from starting keeps all, and is better said once.
      for (let i = 1; i < workers; i++) start();
    });

    worker.once('exit', (code, signal) => {
      if (stopping) return;
      if (!everListened) {
        stop(code || 1);
        return;
      }
      if (!listening) failedStarts++;
      if (failedStarts === MOST_FAILED_STARTS) {
        log.fatal('%d workers in a row ended before they served: stopping', failedStarts);
        stop(1);
        return;
      }
      shortLives = Date.now() - started < SHORT_LIFE_MS ? shortLives + 1 : 0;
      const pauseMs = shortLives === 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (shortLives - 1), LONGEST_PAUSE_MS);
      log.error('worker %d ended (%s): starting another in %d ms', worker.process.pid, signal ?? code, pauseMs);
      setTimeout(start, pauseMs);
    });
  };

  const stop = (exitCode) => {
    if (stopping) return;
    stopping = true;
    process.exitCode = exitCode;
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM');
    setTimeout(() => {
      log.error('workers that have not stopped in time are killed');
      process.exitCode = 1;
      for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL');
    }, drainTimeoutMs + KILL_AFTER_DRAIN_MS).unref();
  };

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => stop(0));
  start();
}
