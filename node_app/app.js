// The service: three small handlers, and every error as JSON.

import { METHODS, STATUS_CODES } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify from 'fastify';
import { DatabaseUnavailable } from './database.js';
import { toExtendedJson } from './extended-json.js';
import { OneLinePerRequest } from './log.js';
import { beginInTurns } from './turns.js';

// Strings of digits, at most five, up to 10000.
const SLEEP_QUERY = {
  type: 'object',
  properties: { ms: { type: 'string', pattern: '^([0-9]{1,4}|0[0-9]{4}|10000)$', default: '1000' } },
};

/**
 * The application, not listening yet: `listen()` it, or `inject()` requests in a test.
 *
 * @param {Pick<import('./database.js').Database, 'findFirst'>} options.database
 * @param {import('pino').Logger} options.log
 * @param {boolean} [options.accessLog] a line for each request
 * @param {number} [options.longestWaitMs] the most that a request waits before it is answered
 */
export function buildApp({ database, log, accessLog = false, longestWaitMs = 12_500 }) {
  const app = fastify({
    loggerInstance: log,
    logController: new OneLinePerRequest({ disableRequestLogging: !accessLog }),
    // Longer than the 60 s for which proxies keep a connection: the one that closes first must not be this server, or
    // a request may meet the close half-way.
    keepAliveTimeout: 72_000,
    // The most for receiving a whole request. Fastify's default, none, lets a client hold a connection for ever.
    requestTimeout: 30_000,
    // A client that takes nothing of its reply for 30 s is let go: the body is held in memory for it.
    connectionTimeout: longestWaitMs + 30_000,
    // What is accepted while the server stops is answered as well.
    return503OnClosing: false,
    // Node would refuse a request without Host with an empty reply; the hook below does it in JSON.
    http: { requireHostHeader: false },
    clientErrorHandler: refuseMalformed,
    // A proxy may ask with the whole URL.
    rewriteUrl: ({ url }) => url.replace(/^https?:\/\/[^/?]*/i, ''),
    // A path with a wrong percent sign is another path.
    frameworkErrors: (error, request, reply) => notFound(request, reply),
  });
  for (const method of METHODS) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  }

  const route = (path, ...handler) => {
    app.get(path, ...handler); // Fastify answers HEAD with it.
    const others = app.supportedMethods.filter((method) => method !== 'GET' && method !== 'HEAD');
    app.route({ method: others, url: path, onRequest: methodNotAllowed, handler: methodNotAllowed });
  };

  for (const [path, collection] of [['/mongo', 'articles'], ['/mongo_big', 'articles_big']]) {
    route(path, async (request, reply) => {
      const document = await database.findFirst(collection, reply.raw);
      return document === null ? sendError(reply, 404, 'no document') : sendJson(reply, toExtendedJson(document));
    });
  }

  const validation = {
    schema: { querystring: SLEEP_QUERY },
    schemaErrorFormatter: () => new Error('ms must be an integer from 0 to 10000'),
  };
  route('/sleep', validation, async (request, reply) => {
    const ms = Number(request.query.ms);
    await sleep(ms);
    return sendJson(reply, Buffer.from(`{"slept_ms":${ms}}`));
  });

  beginInTurns(app);

  // Before a body is looked at: what is wrong with it does not matter where nothing is served.
  app.addHook('onRequest', (request, reply, done) => {
    const { httpVersion } = request.raw;
    const noHost = httpVersion === '1.1' && request.headers.host === undefined;
    // A handler would run before a chunked body is known to be well formed, and none takes one.
    const chunked = request.headers['transfer-encoding'] !== undefined && /^(GET|HEAD)$/.test(request.method);
    // Node's parser lets HTTP/0.9 through.
    if (noHost || chunked || httpVersion < '1.0') badRequest(request, reply);
    else if (request.is404) notFound(request, reply);
    else done();
  });
  // Two things that Node answers by itself, and not in JSON, unless somebody listens to them.
  app.server.on('checkExpectation', (...exchange) => app.server.emit('request', ...exchange));
  app.server.on('connect', (request, socket) => refuse(socket, 405, 'method not allowed', ['Allow: GET, HEAD']));

  app.setErrorHandler((error, request, reply) => {
    if (error.validation) return sendError(reply, 400, error.message);
    if (error instanceof DatabaseUnavailable) {
      request.log.warn('%s: database unavailable (%s)', request.url, error.message);
      return sendError(reply.header('retry-after', '1'), 503, 'database unavailable');
    }
    request.log.error(error);
    return sendError(reply, 500, 'internal error');
  });

  app.addHook('onSend', (request, reply, payload, done) => {
    // Otherwise the connection of a request that was under way stays open until its keep-alive time is over. And Node
    // looks for `close` alone, where a client may send a list.
    const asked = /(^|,)\s*close\s*(,|$)/i.test(request.headers.connection);
    if (asked || !app.server.listening) reply.header('connection', 'close');
    done(null, payload);
  });

  return app;
}

function badRequest(request, reply) {
  return sendError(reply.header('connection', 'close'), 400, 'bad request');
}

function notFound(request, reply) {
  return sendError(reply, 404, 'not found');
}

function methodNotAllowed(request, reply) {
  return sendError(reply.header('allow', 'GET, HEAD'), 405, 'method not allowed');
}

function sendError(reply, status, text) {
  return sendJson(reply.code(status), errorBody(text));
}

// Fastify adds a charset parameter to JSON that it is given as text or as an object; that media type has none.
function sendJson(reply, bytes) {
  return reply.type('application/json').send(bytes);
}

function errorBody(text) {
  return Buffer.from(JSON.stringify({ error: text }));
}

// What Node's parser refuses never reaches a route.
function refuseMalformed(error, socket) {
  const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code] ?? 400;
  if (error.code === 'ECONNRESET') socket.destroy();
  else refuse(socket, status, STATUS_CODES[status].toLowerCase());
}

function refuse(socket, status, text, headers = []) {
  if (!socket.writable) return socket.destroy();
  const body = errorBody(text);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    'Connection: close',
    ...headers,
  ];
  return socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
