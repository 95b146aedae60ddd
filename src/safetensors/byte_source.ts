/**
 * A pull reader over chunks of bytes that arrive in whatever sizes they like. It hands out views of the chunks
 * and keeps no more than the one it is in. It knows nothing of safetensors.
 */

/** Reads an iterable of chunks piece by piece. */
export class ByteSource {
  /** Bytes handed out so far. */
  position = 0;
  #chunk: Uint8Array = new Uint8Array(0);
  #ended = false;
  readonly #iterator: AsyncIterator<Uint8Array>;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** From 1 to `most` of the next bytes, a view; undefined at the end. Errors of the source pass through. */
  async some(most: number): Promise<Uint8Array | undefined> {
    while (this.#chunk.byteLength === 0) {
      const next = await this.#pull();
      if (next === undefined) return undefined;
      this.#chunk = next;
    }
    const bytes = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(bytes.byteLength);
    this.position += bytes.byteLength;
    return bytes;
  }

  /** Exactly `count` bytes, copied only where they straddle chunks; fewer if the source ends first. */
  async exactly(count: number): Promise<Uint8Array> {
    const first = count === 0 ? undefined : await this.some(count);
    if (first === undefined || first.byteLength === count) return first ?? new Uint8Array(0);
    const bytes = new Uint8Array(count);
    bytes.set(first);
    let filled = first.byteLength;
    while (filled < count) {
      const more = await this.some(count - filled);
      if (more === undefined) break;
      bytes.set(more, filled);
      filled += more.byteLength;
    }
    return bytes.subarray(0, filled);
  }

  /** Tells the source that no more is wanted (a ReadableStream is cancelled). Harmless at the end or twice. */
  async close(): Promise<void> {
    this.#chunk = new Uint8Array(0);
    if (this.#ended) return;
    this.#ended = true;
    await this.#iterator.return?.();
  }

  async #pull(): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    // A source that throws has ended too: it is not to be asked again.
    this.#ended = true;
    const { done, value } = await this.#iterator.next();
    if (done) return undefined;
    this.#ended = false;
    return value;
  }
}
