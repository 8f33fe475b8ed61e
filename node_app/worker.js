// One process of the cluster: it serves until it is told to stop, and then answers what it has accepted.

import cluster from 'node:cluster';
import { once } from 'node:events';
import { buildApp } from './app.js';
import { Database } from './database.js';
import { listen } from './listening.js';
import { log } from './log.js';

// So long after the signal, a request that was on its way to this process must have come in whole.
const LAST_REQUEST_MS = 1000;

/** @param {import('./config.js').Config} config */
export async function serve(config) {
  const database = new Database(config);
  if (cluster.worker.id === 1) database.check();
  const app = buildApp({ database, log, accessLog: config.accessLog, longestWaitMs: config.drainTimeoutMs });
  const connections = countRequests(app.server);
  const listeners = await listen(app, config);
  process.send('listening');

  let stopping = false;
  const stop = async () => {
    // A terminal sends SIGINT or SIGHUP to all processes, and the primary sends SIGTERM after it.
    if (stopping) return;
    stopping = true;
    setTimeout(() => closeUnused(connections), LAST_REQUEST_MS);
    // The last resort, for clients that do not take their reply.
    setTimeout(() => app.server.closeAllConnections(), config.drainTimeoutMs);
    const closed = listeners.map((listener) => once(listener.close(), 'close'));
    await app.close();
    await Promise.all(closed);
    await database.close();
    process.exit();
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, stop);
}

// Node closes the connections that are idle between two requests. One that has sent nothing yet, or half a request, it
// counts as busy: that alone would keep a server from closing.
function closeUnused(connections) {
  for (const [socket, requests] of connections) {
    if (requests === 0) socket.destroy();
  }
}

function countRequests(server) {
  const connections = new Map();
  server.on('connection', (socket) => {
    connections.set(socket, 0);
    socket.once('close', () => connections.delete(socket));
  });
  server.on('request', ({ socket }, response) => {
    connections.set(socket, connections.get(socket) + 1);
    response.once('close', () => {
      if (connections.has(socket)) connections.set(socket, connections.get(socket) - 1);
    });
  });
  return connections;
}
