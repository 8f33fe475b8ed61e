// The first process: it starts the workers, replaces those that die, and stops them all.
//
// It also accepts the connections and hands them to the workers one after the other, which is what node:cluster does
// unless it is told otherwise: workers that accept for themselves may end up with very different numbers of clients.

import cluster from 'node:cluster';
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
export function supervise({ workers, drainTimeoutMs }) {
  let everListened = false;
  let failedStarts = 0;
  let shortLives = 0;
  let stopping = false;

  const start = () => {
    if (stopping) return;
    const worker = cluster.fork();
    const started = Date.now();
    let listening = false;

    worker.once('listening', () => {
      listening = true;
      failedStarts = 0;
      if (everListened) return;
      everListened = true;
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
    const running = Object.values(cluster.workers);
    for (const worker of running) worker.process.kill('SIGTERM');
    setTimeout(() => {
      log.error('workers that have not stopped in time are killed');
      process.exitCode = 1;
      for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL');
    }, drainTimeoutMs + KILL_AFTER_DRAIN_MS).unref();
  };

  process.on('SIGTERM', () => stop(0));
  process.on('SIGINT', () => stop(0));
  start();
}
