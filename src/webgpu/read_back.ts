/**
 * Reads bytes back to the host through mappable staging buffers of bounded size. The staging buffers are pooled, because mapping new
 * memory is slow. A long range is read in chunks: while the host takes one chunk out, the device copies the next one.
 */

import type { WebGpuBuffer } from "./webgpu_buffer.ts";
import type { DeviceFaults } from "./device_faults.ts";
import type { SubmissionQueue } from "./submission_queue.ts";
import { StagingBuffer } from "./staging_buffer.ts";

/** The largest staging buffer. It holds a tile of the default edge in one piece. */
const DEFAULT_CHUNK_BYTES = 64 * 2 ** 20;

/** The smallest staging buffer, so that many small reads share a few buffers. */
const SMALLEST_STAGING_BYTES = 64 * 2 ** 10;

/** The number of idle staging buffers that are pooled per size. */
const POOLED_PER_SIZE = 2;

/** A chunk that is being copied to the host. */
interface Chunk {
  readonly staging: StagingBuffer;
  readonly byteLength: number;
  readonly mapped: Promise<ArrayBuffer>;
}

/** Reads the buffers of one device. */
export class ReadBack {
  readonly #device: GPUDevice;
  readonly #queue: SubmissionQueue;
  readonly #faults: DeviceFaults;
  readonly #chunkBytes: number;
  readonly #idle = new Map<number, StagingBuffer[]>();

  constructor(
    device: GPUDevice,
    queue: SubmissionQueue,
    faults: DeviceFaults,
    chunkBytes = DEFAULT_CHUNK_BYTES,
  ) {
    this.#device = device;
    this.#queue = queue;
    this.#faults = faults;
    this.#chunkBytes = chunkBytes;
  }

  /** Runs the queued work and waits for its end by reading four bytes that are copied after it. @throws as {@link read} */
  async wait(): Promise<void> {
    await this.#take(this.#start(this.#queue.params, 0, 4), () => {});
  }

  /**
   * Runs the queued work and reads a range of at least 4 bytes. If the range is longer than one chunk, `source` must not be written
   * until the promise resolves.
   * @throws {DeviceLostError}
   * @throws {Error} the first error of the queued work
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

  /** Waits for a chunk, passes it to `use`, and returns its staging buffer to the pool. */
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
    mapped.catch(() => {}); // awaited in its turn; if an earlier chunk fails, that failure is reported
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
    if (idle.length < POOLED_PER_SIZE) idle.push(staging);
    else staging.destroy();
  }
}
