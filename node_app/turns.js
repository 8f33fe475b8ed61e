// A busy event loop that still takes new clients.
//
// Node takes one new connection in each turn of its event loop (libuv since 1.45, and node:cluster hands over one at a
// time as well). A turn lasts as long as everything that is ready: a hundred requests make one of 25 ms, and then it
// takes seconds until the hundredth client of a busy process is heard at all, while the others are served many times.
// So a turn begins a few requests only, and leaves the rest, in their order, to the next ones.

const REQUESTS_IN_A_TURN = 4;

/** @param {import('fastify').FastifyInstance} app */
export function beginInTurns(app) {
  let waiting = [];
  let next = 0;

  const turn = () => {
    const end = Math.min(next + REQUESTS_IN_A_TURN, waiting.length);
    while (next < end) waiting[next++]();
    if (next < waiting.length) {
      setImmediate(turn);
    } else {
      waiting = [];
      next = 0;
    }
  };

  app.addHook('onRequest', (request, reply, done) => {
    waiting.push(done);
    if (waiting.length === 1) setImmediate(turn);
  });
}
