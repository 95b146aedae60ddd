/**
 * Brings bytes back to the host through mappable staging buffers of bounded size, which are pooled because
 * mapping fresh memory is slow. A long range is read in chunks, the copy of one under way while the last is
 * taken out.
 */

import type { WebGpuBuffer } from "./buffers.ts";
import type { DeviceFaults } from "./faults.ts";
import type { CommandQueue } from "./queue.ts";
import { StagingBuffer } from "./staging.ts";

/** The most one staging buffer holds: a default tile in one piece. */
const DEFAULT_CHUNK_BYTES = 64 * 2 ** 20;

/** The least one holds, so that the many small reads share a few. */
const SMALLEST_STAGING_BYTES = 64 * 2 ** 10;

/** Idle staging buffers kept, of each size. */
const KEPT_PER_SIZE = 2;

/** A chunk on its way to the host. */
interface Chunk {
  readonly staging: StagingBuffer;
  readonly byteLength: number;
  readonly mapped: Promise<ArrayBuffer>;
}

/** Reads the buffers of one device. */
export class ReadBack {
  readonly #device: GPUDevice;
  readonly #queue: CommandQueue;
  readonly #faults: DeviceFaults;
  readonly #chunkBytes: number;
  readonly #idle = new Map<number, StagingBuffer[]>();

  constructor(
    device: GPUDevice,
    queue: CommandQueue,
    faults: DeviceFaults,
    chunkBytes = DEFAULT_CHUNK_BYTES,
  ) {
    this.#device = device;
    this.#queue = queue;
    this.#faults = faults;
    this.#chunkBytes = chunkBytes;
  }

  /** Runs what is queued and waits for it, which the arrival of any byte written after it tells. @throws as {@link read} */
  async wait(): Promise<void> {
    await this.#take(this.#start(this.#queue.params, 0, 4), () => {});
  }

  /**
   * Runs what is queued and copies the range, of at least 4 bytes, out. Past one chunk, `source` must not be written until it resolves.
   * @throws {DeviceLostError} or the first error of the work before it
   */
  async read(source: WebGpuBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(byteLength);
    const chunkAt = (done: number) =>
      this.#start(source.gpu, byteOffset + done, Math.min(this.#chunkBytes, byteLength - done));
    let next = chunkAt(0);
    for (let done = 0; done < byteLength;) {
      const chunk = next, following = done + chunk.byteLength;
      if (following < byteLength) next = chunkAt(following);
      try {
        await this.#take(chunk, (range) => bytes.set(new Uint8Array(range), done));
      } catch (error) {
        if (next !== chunk) next.staging.destroy();
        throw error;
      }
      done = following;
    }
    return bytes;
  }

  /** Hands a chunk to `use` when it has come. */
  async #take({ staging, mapped }: Chunk, use: (range: ArrayBuffer) => void): Promise<void> {
    try {
      use(await this.#faults.settle(mapped));
    } catch (error) {
      staging.destroy();
      throw error;
    }
    staging.unmap();
    this.#release(staging);
  }

  #start(source: GPUBuffer, byteOffset: number, byteLength: number): Chunk {
    const staging = this.#acquire(byteLength);
    this.#queue.copyOut(source, byteOffset, staging.gpu, byteLength);
    this.#queue.submit();
    const mapped = staging.map(byteLength);
    mapped.catch(() => {}); // awaited in its turn; when an earlier chunk fails, that failure is the one told
    return { staging, byteLength, mapped };
  }

  #acquire(byteLength: number): StagingBuffer {
    const size = Math.min(
      Math.max(SMALLEST_STAGING_BYTES, 2 ** Math.ceil(Math.log2(byteLength))),
      Math.max(this.#chunkBytes, byteLength),
    );
    return this.#idle.get(size)?.pop() ?? new StagingBuffer(this.#device, size);
  }

  #release(staging: StagingBuffer): void {
    const idle = this.#idle.get(staging.byteLength) ?? [];
    this.#idle.set(staging.byteLength, idle);
    if (idle.length < KEPT_PER_SIZE) idle.push(staging);
    else staging.destroy();
  }
}
