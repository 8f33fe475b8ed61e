// How the workers listen: each on a socket of its own (SO_REUSEPORT), over which the kernel spreads the clients.
//
// What node:cluster does instead, accept in the first process and hand the connections over, has two holes: one that is
// on its way when its worker is killed is neither served nor closed, and a worker that had no file descriptor left for
// one is never given another. Node.js before 22.12 does not know `reusePort`, and other systems than Linux do not have
// it or do not spread: there it remains.

import { once } from 'node:events';
import { createServer } from 'node:net';
import { BadSetting } from './config.js';

// As many clients may connect at the same moment as the kernel allows (net.core.somaxconn, mostly 4096). Node's own
// 511 lets those after them wait a second and more until their system tries again.
const BACKLOG = 4096;

/** @param {import('./config.js').Config} config */
export function listenOptions({ host, port }) {
  return { host, port, backlog: BACKLOG, reusePort: process.platform === 'linux' };
}

/**
 * Sockets of their own would also let a second server start on a port that is taken.
 * @throws {BadSetting} when HOST and PORT cannot be listened on
 */
export async function requireFreePort({ host, port }) {
  const probe = createServer();
  try {
    await once(probe.listen({ host, port }), 'listening');
  } catch (error) {
    throw listenProblem(error, { host, port });
  }
  probe.close();
  await once(probe, 'close');
}

export function listenProblem(error, { host, port }) {
  const what = error.code === 'EADDRINUSE'
    ? `PORT ${port} is in use on ${host}: stop what listens there, or set another PORT`
    : `HOST ${host}, PORT ${port} cannot be listened on: ${error.code ?? error.message}`;
  return new BadSetting(what, { cause: error });
}
