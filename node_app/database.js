// The database side: one client for each process, and the one question that the service asks.

import { MongoClient, MongoError } from 'mongodb';
import { BadSetting } from './config.js';

const DEFAULTS = {
  // Within 2.5 s of the database's end a request must be told so, and the driver may need some of them to find out.
  serverSelectionTimeoutMS: 1500,
  connectTimeoutMS: 1000,
  // A server that no longer answers is given up after these two together, instead of after 11 s.
  heartbeatFrequencyMS: 2000,
};

/**
 * How the driver turns BSON into JavaScript values.
 *
 * By default it throws on a regular expression that JavaScript does not know, and on text that is no UTF-8: the rest of
 * such a document is still good.
 */
export const DECODING = { bsonRegExp: true, enableUtf8Validation: false };

/** The database cannot be reached, refuses, or takes too long. */
export class DatabaseUnavailable extends Error {}

/** A database of one process. It connects at its first use, and again after a failure. */
export class Database {
  #client;
  #database;
  #timeoutMs;

  /**
   * @param {import('./config.js').Config} config
   * @throws {BadSetting} when the driver cannot read the MONGODB_URI
   */
  constructor({ mongodbUri, mongodbDatabase, maxPoolSize, dbTimeoutMs }) {
    const defaults = {
      ...DEFAULTS,
      maxPoolSize,
      // Nobody waits for an operation after `dbTimeoutMs`; these two end it, so that it does not hold its connection.
      waitQueueTimeoutMS: dbTimeoutMs,
      socketTimeoutMS: dbTimeoutMs,
    };
    try {
      // The driver lets options win over the URI, so those that the URI names are left out.
      this.#client = new MongoClient(mongodbUri, { ...without(defaults, optionsIn(mongodbUri)), ...DECODING });
    } catch {
      // The driver's message may quote a part of the password.
      throw new BadSetting('MONGODB_URI must be a MongoDB connection string that the driver can parse');
    }
    this.#database = this.#client.db(mongodbDatabase);
    this.#timeoutMs = dbTimeoutMs;
  }

  /**
   * The first document of a collection: one `find` on the wire.
   *
   * @param {string} collection
   * @returns {Promise<object | null>} null when the collection is empty
   * @throws {DatabaseUnavailable}
   */
  async findFirst(collection) {
    try {
      return await withDeadline(this.#find(collection), this.#timeoutMs);
    } catch (error) {
      // Names that cannot be resolved and TLS files that cannot be read come as errors of the system.
      if (error instanceof MongoError || error.syscall !== undefined) {
        throw new DatabaseUnavailable(error.message, { cause: error });
      }
      throw error;
    }
  }

  async #find(collection) {
    // A client that could not connect at its first use stays closed, whatever comes back, until it is told to connect.
    // A connected one has nothing to do here.
    await this.#client.connect();
    return this.#database.collection(collection).findOne();
  }

  async close() {
    await this.#client.close();
  }
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

function optionsIn(uri) {
  const query = new URLSearchParams(uri.split('?')[1]);
  return new Set([...query.keys()].map((name) => name.toLowerCase()));
}

function without(options, names) {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !names.has(name.toLowerCase())));
}
