// How the workers listen: each on a socket of its own (SO_REUSEPORT), over which the kernel spreads the clients.
//
// What node:cluster does instead, accept in the first process and hand the connections over, has two holes: one that is
// on its way when its worker is killed is neither served nor closed, and a worker that had no file descriptor left for
// one is never given another. Node.js before 22.12 does not know `reusePort`, and other systems than Linux do not have
// it or do not spread: there it remains.

import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { BadSetting } from './config.js';

// As many clients may connect at the same moment as the kernel allows (net.core.somaxconn, mostly 4096). Node's own
// 511 lets those after them wait a second and more until their system tries again.
const BACKLOG = 4096;
// A machine without IPv6 may still have a name for it.
const ABSENT = ['EADDRNOTAVAIL', 'EAFNOSUPPORT'];

/**
 * Listens on every address. For the second one of `localhost` Fastify would make a server of its own, without what is
 * set up on the first. Here all connections belong to the first.
 *
 * @returns {Promise<import('node:net').Server[]>} those beside the application's own, to be closed with it
 */
export async function listen(app, { hosts, port }) {
  const shared = { port, backlog: BACKLOG, reusePort: process.platform === 'linux' };
  const [first, ...others] = hosts.map((host) => ({ host, ...shared }));
  try {
    await app.listen({ ...first, listenTextResolver: (address) => `serving on ${address}` });
    return await Promise.all(others.map(async (options) => {
      const handOver = (socket) => app.server.emit('connection', socket);
      const server = createServer({ allowHalfOpen: true, noDelay: true }, handOver); // As http.Server makes its own.
      await once(server.listen(options), 'listening');
      return server;
    }));
  } catch (error) {
    throw problem(error, hosts, port);
  }
}

/**
 * Sockets of their own would also let a second server start on a port that is taken.
 *
 * @param {import('./config.js').Config} config
 * @returns {Promise<string[]>} every address of HOST: `localhost` mostly has two
 * @throws {BadSetting} when HOST and PORT cannot be listened on
 */
export async function freeAddresses({ hosts, port }) {
  const free = new Set();
  let absent;
  try {
    for (const { address } of (await Promise.all(hosts.map((host) => lookup(host, { all: true })))).flat()) {
      const probe = createServer().listen({ host: address, port });
      try {
        await once(probe, 'listening');
        free.add(address);
        await once(probe.close(), 'close');
      } catch (error) {
        if (!ABSENT.includes(error.code)) throw error;
        absent = error;
      }
    }
    if (free.size === 0) throw absent;
  } catch (error) {
    throw problem(error, hosts, port);
  }
  return [...free];
}

function problem(error, hosts, port) {
  const what = error.code === 'EADDRINUSE'
    ? `PORT ${port} is in use on ${hosts}: stop what listens there, or set another PORT`
    : `HOST ${hosts}, PORT ${port} cannot be listened on: ${error.code ?? error.message}`;
  return new BadSetting(what, { cause: error });
}
