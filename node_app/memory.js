// A bound for the memory that documents take, however large they are and however many clients ask for them.
//
// A request has its share from before it asks for its document until its reply is gone. Who finds no room waits.

// As it came from the database, and as a body. Decoded it takes more, but a process decodes one at a time.
const COPIES = 3;
// MongoDB stores none that is larger. What has not been seen yet is taken for that large.
const LARGEST_BYTES = 16 * 1024 * 1024;

export class Memory {
  #limit;
  #free;
  #sizes = new Map();
  #waiting = [];

  constructor(limitBytes) {
    this.#limit = this.#free = limitBytes;
  }

  /** Resolves with a share once there is room for a document as large as the last one of `collection`. */
  async take(collection, response) {
    const share = { collection, bytes: 0, came: false, closed: false };
    response.once('close', () => {
      share.closed = true;
      this.#resize(share, share.came ? 0 : share.bytes); // What nobody waits for any more still comes.
    });
    return this.#fits(share) ? share : new Promise((resolve, reject) => this.#waiting.push({ share, resolve, reject }));
  }

  came(share, bytes) {
    if (bytes !== undefined) this.#sizes.set(share.collection, bytes ?? 0);
    share.came = true;
    this.#resize(share, share.closed ? 0 : COPIES * (bytes ?? 0));
  }

  /** What keeps one from its document keeps those that wait from theirs. */
  refuseWaiting(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  #fits(share) {
    const bytes = COPIES * (this.#sizes.get(share.collection) ?? LARGEST_BYTES);
    // Where nothing is held one is let in, or a document that is larger than the bound would wait for ever.
    if (bytes > this.#free && this.#free < this.#limit) return false;
    this.#free -= bytes;
    share.bytes = bytes;
    return true;
  }

  #resize(share, bytes) {
    this.#free += share.bytes - bytes;
    share.bytes = bytes;
    if (this.#waiting.length === 0) return;
    this.#waiting = this.#waiting.filter(({ share: other, resolve }) => {
      if (other.closed || !this.#fits(other)) return !other.closed;
      resolve(other);
      return false;
    });
  }
}
