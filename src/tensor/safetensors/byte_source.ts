/**
 * Reads a given number of bytes from a stream whose chunks have arbitrary sizes. The reader returns views of
 * the chunks where it can, and it holds at most one chunk in memory.
 */

/** Reads from an iterable of byte chunks. */
export class ByteSource {
  /** The number of bytes returned so far. */
  position = 0;
  #chunk: Uint8Array = new Uint8Array(0);
  #ended = false;
  readonly #iterator: AsyncIterator<Uint8Array>;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /**
   * Returns at least 1 and at most `maxBytes` of the next bytes, as a view of the current chunk. Returns
   * undefined at the end of the source. Rethrows the errors of the source.
   */
  async readSome(maxBytes: number): Promise<Uint8Array | undefined> {
    while (this.#chunk.byteLength === 0) {
      const next = await this.#pull();
      if (next === undefined) return undefined;
      this.#chunk = next;
    }
    const bytes = this.#chunk.subarray(0, maxBytes);
    this.#chunk = this.#chunk.subarray(bytes.byteLength);
    this.position += bytes.byteLength;
    return bytes;
  }

  /**
   * Returns the next `count` bytes, or fewer if the source ends earlier. The bytes are copied only if they
   * lie in more than one chunk. Rethrows the errors of the source.
   */
  async readExactly(count: number): Promise<Uint8Array> {
    const first = count === 0 ? undefined : await this.readSome(count);
    if (first === undefined || first.byteLength === count) return first ?? new Uint8Array(0);
    const bytes = new Uint8Array(count);
    bytes.set(first);
    let filled = first.byteLength;
    while (filled < count) {
      const more = await this.readSome(count - filled);
      if (more === undefined) break;
      bytes.set(more, filled);
      filled += more.byteLength;
    }
    return bytes.subarray(0, filled);
  }

  /**
   * Closes the source early, which cancels a ReadableStream. Idempotent, and does nothing if the source has
   * ended.
   */
  async close(): Promise<void> {
    this.#chunk = new Uint8Array(0);
    if (this.#ended) return;
    this.#ended = true;
    await this.#iterator.return?.();
  }

  async #pull(): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    // Marked as ended before the call, because an iterator that throws must not be called again.
    this.#ended = true;
    const { done, value } = await this.#iterator.next();
    if (done) return undefined;
    this.#ended = false;
    return value;
  }
}
