// The database side: one client for each process, and the one question that the service asks.

import { X509Certificate } from 'node:crypto';
import { promises as dns } from 'node:dns';
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import zlib from 'node:zlib';
import { MongoClient, MongoError, MongoServerSelectionError } from 'mongodb';
import { BadSetting } from './config.js';
import { decode } from './decode.js';
import { log } from './log.js';
import { Memory } from './memory.js';

const DEFAULTS = {
  // Within 2.5 s of the database's end a request must be told so, and the driver may need some of them to find out.
  serverSelectionTimeoutMS: 1500,
  connectTimeoutMS: 1000,
  // A server that no longer answers is given up after these two together, instead of after 11 s.
  heartbeatFrequencyMS: 2000,
};
// On top of `serverSelectionTimeoutMS`, which covers no look-up of the hosts of a mongodb+srv:// in the DNS.
const SRV_LOOKUP_MS = 500;
const LARGE_BYTES = 100_000;

// The driver would ignore these, or fail at each request.
const NOT_OBEYED = [
  [/^timeoutMS=/i, 'it has no effect in this driver; set DB_TIMEOUT_MS'],
  [/^(proxy|authMechanism=(GSSAPI|MONGODB-AWS))/i, 'it needs another package'],
  [zlib.zstdCompress ? /^compressors=.*snappy/i : /^compressors=.*(snappy|zstd)/i, 'it needs another package'],
  [/^readConcernLevel=(?!(local|available|majority|linearizable|snapshot)$)/i, 'MongoDB knows no such level'],
  [/^maxStalenessSeconds=(?!(-1|9\d|\d{3,})$)/i, 'it must be 90 or more'],
  [/^zlibCompressionLevel=(?!(-1|\d)$)/i, 'it must be from -1 to 9'],
];
const TLS_FILES = {
  tlsCAFile: (pem) => new X509Certificate(pem),
  tlsCRLFile: (pem) => createSecureContext({ crl: pem }),
  tlsCertificateKeyFile: (pem, { passphrase }) => createSecureContext({ cert: pem, key: pem, passphrase }),
};

/** The database cannot be reached, refuses, or takes too long. */
export class DatabaseUnavailable extends Error {}

/** A database of one process. It connects at its first use, and again after a failure. */
export class Database {
  #client;
  #database;
  #timeoutMs;
  #connected = false;
  #memory;
  #decoding = Promise.resolve();

  /** @throws {BadSetting} when the driver cannot read the MONGODB_URI, or cannot obey an option of it */
  constructor({ mongodbUri, mongodbDatabase, maxPoolSize, dbTimeoutMs, documentBytes }) {
    const inUri = [...new URLSearchParams(mongodbUri.split('?')[1])];
    const names = inUri.map(([name]) => name.toLowerCase());
    const defaults = {
      ...DEFAULTS,
      maxPoolSize,
      // Nobody waits for an operation after `dbTimeoutMs`; these two end it, so that it does not hold its connection.
      waitQueueTimeoutMS: dbTimeoutMs,
      socketTimeoutMS: dbTimeoutMs,
      // Who names a certificate wants TLS, say the other drivers. This one would connect without.
      ...(names.some((name) => name.startsWith('tls')) && { tls: true }),
      lookup: patientLookup(),
    };
    try {
      // The driver lets options win over the URI, so those that the URI names are left out.
      const options = Object.entries(defaults).filter(([name]) => !names.includes(name.toLowerCase()));
      this.#client = new MongoClient(mongodbUri, Object.fromEntries(options));
    } catch ({ message }) {
      // The driver's message may quote a part of a password that has characters which should have been encoded.
      const quotesNothing = /^[^@/?]*:\/\/([^@/?]*@)?[^@]*$/.test(mongodbUri) && !message.includes('://');
      throw new BadSetting('MONGODB_URI must be a MongoDB connection string that the driver can parse'
        + (quotesNothing ? `: ${message.replaceAll('\n', ' ')}` : ''));
    }
    for (const [name, value] of inUri) {
      const [, why] = NOT_OBEYED.find(([pattern]) => pattern.test(`${name}=${value}`)) ?? [];
      if (why) throw new BadSetting(`MONGODB_URI: ${name} cannot be obeyed: ${why}`);
    }
    const { minPoolSize, maxPoolSize: most, readPreference: { mode }, tls, credentials } = this.#client.options;
    const contradiction = (most > 0 && minPoolSize > most && 'minPoolSize is more than maxPoolSize')
      || (!tls && /tls\w/.test(names) && 'tls=false contradicts the other tls options')
      || (/mechanismp/.test(names) && credentials?.mechanism !== 'MONGODB-OIDC' && 'authMechanismProperties needs OIDC')
      || (mode === 'primary' && /preferencetags|staleness/.test(names) && 'readPreference=primary has no tags');
    if (contradiction) throw new BadSetting(`MONGODB_URI cannot be obeyed: ${contradiction}`);
    this.#database = this.#client.db(mongodbDatabase);
    this.#timeoutMs = dbTimeoutMs;
    this.#memory = new Memory(documentBytes);
  }

  /** @throws {BadSetting} for a file of the MONGODB_URI. Later, one that is away keeps no process from starting */
  check() {
    const { options } = this.#client;
    for (const [name, use] of Object.entries(TLS_FILES)) {
      try {
        if (options[name]) use(readFileSync(options[name], 'utf8'), options);
      } catch ({ message }) {
        throw new BadSetting(`MONGODB_URI: ${name} ${options[name]} cannot be used: ${message.replaceAll('\n', ' ')}`);
      }
    }
    log.info('documents: database %s of %s', this.#database.databaseName, options.srvHost ?? options.hosts.join());
  }

  /**
   * The first document of a collection: one `find` on the wire.
   * @param {import('node:http').ServerResponse} response until it is closed, it holds memory for the document
   * @returns {Promise<object | null>} null when the collection is empty
   * @throws {DatabaseUnavailable}
   */
  async findFirst(collection, response) {
    try {
      return await withDeadline(this.#find(collection, response), this.#timeoutMs);
    } catch (error) {
      if (error instanceof MongoServerSelectionError) this.#memory.refuseWaiting(error);
      // Names that cannot be resolved and TLS files that cannot be read come as errors of the system.
      if (error instanceof MongoError || error.syscall !== undefined) {
        throw new DatabaseUnavailable(error.message, { cause: error });
      }
      throw error;
    }
  }

  async #find(collection, response) {
    // A client that could not connect at its first use stays closed, whatever comes back, until it is told to connect.
    // All requests share one attempt, which goes on when one of them gives up.
    if (!this.#connected) {
      await withDeadline(this.#client.connect(), this.#client.options.serverSelectionTimeoutMS + SRV_LOOKUP_MS);
      this.#connected = true;
    }
    if (response.destroyed) return null;
    const share = await this.#memory.take(collection, response);
    let bytes;
    try {
      bytes = await this.#database.collection(collection).findOne({}, { raw: true });
      // One after the other, or many large ones would keep the event loop from all else.
      if (bytes?.length > LARGE_BYTES) await (this.#decoding = this.#decoding.then(someTurns));
      return share.closed ? null : bytes && decode(bytes);
    } finally {
      this.#memory.came(share, bytes && bytes.length);
    }
  }

  close() { return this.#client.close(); }
}

// The driver's own `timeoutMS` has had no effect since 7.9, and an AbortSignal for each find costs a tenth of its time.
async function withDeadline(promise, ms) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new DatabaseUnavailable(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

// A large document has a turn of the event loop for itself, half a second. Of new clients Node takes one in each turn.
async function someTurns() {
  for (let i = 0; i < 50; i++) await nextTurn();
}

// Looking a name up takes seconds where a DNS server is dead: longer than the driver waits for a connection, and each
// attempt would begin it anew. Here they share one look-up, and have the last answer while the next is on its way.
function patientLookup() {
  const answers = new Map();
  const pending = new Map();
  return (name, { all }, callback) => {
    if (!pending.has(name)) {
      const asked = dns.lookup(name, { all: true });
      pending.set(name, asked);
      asked.then((found) => answers.set(name, found), () => {}).finally(() => pending.delete(name));
    }
    const reply = (found) => all ? callback(null, found) : callback(null, found[0].address, found[0].family);
    if (answers.has(name)) reply(answers.get(name));
    else pending.get(name).then(reply, callback);
  };
}
