// `GET /mongo` without Fastify. What it costs is the difference to `WEB_CONCURRENCY=1 node server.js`.
//   PORT=5001 node bench/bare-http.js

import { createServer } from 'node:http';
import { readConfig } from '../config.js';
import { Database } from '../database.js';
import { toExtendedJson } from '../extended-json.js';

const config = readConfig(process.env);
const database = new Database(config);

createServer(async (request, response) => {
  const body = toExtendedJson(await database.findFirst('articles', response));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}).listen(config.port, config.hosts[0], 4096);
