// One log on stderr, a line of JSON for each event.

import { LogController } from 'fastify';
import pino from 'pino';

export const log = pino(
  { base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
  // Synchronous: the last words of a process that dies are the ones that matter.
  pino.destination({ dest: 2, sync: true }),
);

/** Fastify writes a line when a request comes and one when it is answered; the second can say all. */
export class OneLinePerRequest extends LogController {
  incomingRequest() {}

  requestCompleted(error, request, reply) {
    if (this.isLogDisabled(request)) return;
    const facts = { req: request, res: reply, responseTime: reply.elapsedTime };
    request.log.info(error ? { ...facts, err: error } : facts, 'answered');
  }
}
