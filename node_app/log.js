// One log on stderr, a line of JSON for each event.

import { LogController } from 'fastify';
import pino from 'pino';

// Synchronous: the last words of a process that dies are the ones that matter.
const stderr = pino.destination({ dest: 2, sync: true });
// A disk that is full where the log goes is no reason not to serve.
stderr.on('error', () => {});

export const log = pino({ base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, stderr);

/** Fastify writes a line when a request comes and one when it is answered; the second can say all. */
export class OneLinePerRequest extends LogController {
  incomingRequest() {}

  requestCompleted(error, request, reply) {
    if (this.isLogDisabled(request)) return;
    const facts = { req: request, res: reply, responseTime: reply.elapsedTime };
    request.log.info(error ? { ...facts, err: error } : facts, 'answered');
  }
}
