/**
 * A pool of host memory for uploads through a message port. The side of the port that fills the memory owns the pool.
 * Filled memory moves to the other side without being copied, and comes back when the device has room for more. The
 * pool limits the memory on the other side, and so it limits how far an upload can run ahead of the device.
 */

import type { HostMemory } from "./backend.ts";

/** Borrowers wait while at least this many bytes are on the other side of the port. */
const DEFAULT_SENT_BYTES = 128 * 2 ** 20;

/** The least memory allocated at a time. A strip of any request fits into it, so all requests share the pool. */
const LEAST_MEMORY_BYTES = 4 * 2 ** 20;

/** The most unused memory that the pool holds for later uploads, in bytes. */
const MAX_IDLE_BYTES = 32 * 2 ** 20;

export class MemoryPool {
  #idle: ArrayBuffer[] = [];
  readonly #lent = new Set<ArrayBuffer>();
  #sentBytes = 0;
  /** The callers that wait until less memory is on the other side, in the order of their calls. */
  #waiting: PromiseWithResolvers<void>[] = [];
  #failure: Error | undefined;

  constructor(private readonly maxSentBytes = DEFAULT_SENT_BYTES) {}

  /** Lends `byteLength` bytes. Waits while too much memory is on the other side. @throws the error of {@link fail} */
  async borrow(byteLength: number): Promise<HostMemory> {
    while (this.#sentBytes >= this.maxSentBytes && !this.#failure) {
      const turn = Promise.withResolvers<void>();
      this.#waiting.push(turn);
      await turn.promise;
    }
    if (this.#failure) throw this.#failure;
    const buffer = this.#takeIdle(byteLength) ??
      new ArrayBuffer(Math.max(LEAST_MEMORY_BYTES, byteLength));
    this.#lent.add(buffer);
    return {
      bytes: new Uint8Array(buffer, 0, byteLength),
      release: () => {
        if (this.#lent.delete(buffer)) this.#keep(buffer);
      },
    };
  }

  /** Records that `buffer` is sent. Returns false if the pool has not lent it, so that the caller must send a copy. */
  send(buffer: ArrayBufferLike): buffer is ArrayBuffer {
    if (!this.#lent.delete(buffer as ArrayBuffer)) return false;
    this.#sentBytes += buffer.byteLength;
    return true;
  }

  receive(buffer: ArrayBuffer): void {
    this.#sentBytes -= buffer.byteLength;
    this.#keep(buffer);
    if (this.#sentBytes < this.maxSentBytes) this.#waiting.shift()?.resolve();
  }

  /** Makes all waiting and later borrowers fail with `error`, because no memory comes back any more. */
  fail(error: Error): void {
    this.#failure ??= error;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    this.#idle = [];
  }

  #takeIdle(byteLength: number): ArrayBuffer | undefined {
    const at = this.#idle.findLastIndex((buffer) => buffer.byteLength >= byteLength);
    return at < 0 ? undefined : this.#idle.splice(at, 1)[0];
  }

  #keep(buffer: ArrayBuffer): void {
    const idleBytes = this.#idle.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (!this.#failure && idleBytes + buffer.byteLength <= MAX_IDLE_BYTES) this.#idle.push(buffer);
  }
}
