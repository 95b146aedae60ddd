/**
 * The host memory in which a long upload is assembled, one piece after the other. If the backend lends
 * memory, each piece is written to the device from where it was assembled. Otherwise all pieces share one
 * array, because `write` copies them at once.
 */

import type { Backend, HostMemory } from "./backend.ts";

/**
 * On a backend that has no staging memory to wait for, the upload waits for the device whenever this many
 * bytes were written. Until then, copies of the data can occupy memory.
 */
const BACKPRESSURE_BYTES = 128 * 2 ** 20;

/** The memory of one upload. */
export class UploadMemory implements Disposable {
  readonly #backend: Backend;
  readonly #byteLength: number;
  #memory: HostMemory;
  #writtenBytes = 0;

  private constructor(backend: Backend, memory: HostMemory) {
    this.#backend = backend;
    this.#byteLength = memory.bytes.byteLength;
    this.#memory = memory;
  }

  /** Opens memory for pieces of at most `byteLength` bytes. @throws {DeviceLostError} */
  static async open(backend: Backend, byteLength: number): Promise<UploadMemory> {
    const memory = await backend.borrowMemory?.(byteLength) ??
      { bytes: new Uint8Array(byteLength), release: () => {} };
    return new UploadMemory(backend, memory);
  }

  /** The memory for the next piece. It is valid until {@link next}. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#memory.bytes;
  }

  /**
   * Makes room for another piece, after a piece of `writtenBytes` bytes was written. Waits while the bytes of
   * earlier pieces occupy too much memory.
   * @throws {DeviceLostError}
   * @throws {Error} the first error of earlier work, if this call had to wait for the device
   */
  async next(writtenBytes: number): Promise<void> {
    const backend = this.#backend;
    if (backend.borrowMemory) {
      this.#memory.release(); // No effect if a write took the memory.
      this.#memory = await backend.borrowMemory(this.#byteLength);
    } else if (backend.stagingRoom) {
      await backend.stagingRoom(writtenBytes);
    } else {
      this.#writtenBytes += writtenBytes;
      if (this.#writtenBytes < BACKPRESSURE_BYTES) return;
      this.#writtenBytes = 0;
      await backend.finish();
    }
  }

  [Symbol.dispose](): void {
    this.#memory.release();
  }
}
