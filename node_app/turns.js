// A busy event loop that still takes new clients.
//
// Node takes one new connection in each turn of its event loop, and a turn lasts as long as all that is ready: it
// takes seconds until the hundredth client of a busy process is heard at all, while the others are served many times.
// So a turn begins a few requests only, and leaves the rest, in their order, to the next ones.
//
// And a connection has one request under way. Node hands over all that a client has sent without waiting (pipelining).

const REQUESTS_IN_A_TURN = 4;
const BEHIND = Symbol('the requests of a connection that wait for the one under way');

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

  const begin = (socket, reply, done) => {
    reply.raw.once('close', () => {
      const following = socket[BEHIND].shift();
      if (following) following();
      else socket[BEHIND] = null;
    });
    waiting.push(done);
    if (waiting.length === 1) setImmediate(turn);
  };

  app.addHook('onRequest', (request, reply, done) => {
    const { socket } = request.raw;
    if (socket[BEHIND]) {
      socket[BEHIND].push(() => begin(socket, reply, done));
    } else {
      socket[BEHIND] = [];
      begin(socket, reply, done);
    }
  });
}
