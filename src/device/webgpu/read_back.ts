/**
 * Reads bytes from the device to the host. The device copies the bytes into staging buffers, which the host can map.
 * Staging buffers have a bounded size and are pooled, because mapping new memory is slow. A long range is read in
 * chunks: while the host takes one chunk, the device copies the next one.
 */

import type { DeviceFaults } from "./device_faults.ts";
import { StagingBuffer } from "./staging_buffer.ts";
import type { SubmissionQueue } from "./submission_queue.ts";
import type { WebGpuBuffer } from "./webgpu_buffer.ts";

/** The default size of a chunk, and so of the largest staging buffer. A tile of 4096 × 4096 f32 fits in one chunk. */
const DEFAULT_CHUNK_BYTES = 64 * 2 ** 20;

/** The size of the smallest staging buffer. It is large enough for all small reads to share the same few buffers. */
const SMALLEST_STAGING_BYTES = 64 * 2 ** 10;

/** The most unused staging buffers of one size that stay in the pool. */
const MAX_IDLE_PER_SIZE = 2;

interface Chunk {
  readonly staging: StagingBuffer;
  readonly byteLength: number;
  readonly mapped: Promise<ArrayBuffer>;
}

/** Reads the buffers of one device. It also implements waiting for the device, by reading a few bytes. */
export class ReadBack {
  /** The pool: unused staging buffers by size in bytes. */
  readonly #idle = new Map<number, StagingBuffer[]>();

  constructor(
    private readonly device: GPUDevice,
    private readonly queue: SubmissionQueue,
    private readonly faults: DeviceFaults,
    private readonly chunkBytes = DEFAULT_CHUNK_BYTES,
  ) {}

  /** Submits the queued work, and waits for 4 bytes that are copied after it. @throws as {@link read} */
  async wait(): Promise<void> {
    await this.#consume(this.#start(this.queue.params, 0, 4), () => {});
  }

  /**
   * Submits the queued work and returns a copy of the range, which is at least 4 bytes long. If the range is longer
   * than one chunk, `source` must not be written until the promise resolves.
   * @throws {DeviceLostError} {Error} the first error of the work before the read
   */
  async read(source: WebGpuBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(byteLength);
    const startChunk = (done: number) =>
      this.#start(source.gpu, byteOffset + done, Math.min(this.chunkBytes, byteLength - done));
    let next = startChunk(0);
    for (let done = 0; done < byteLength;) {
      const chunk = next, following = done + chunk.byteLength;
      if (following < byteLength) next = startChunk(following);
      try {
        await this.#consume(chunk, (range) => bytes.set(new Uint8Array(range), done));
      } catch (error) {
        if (next !== chunk) next.staging.destroy();
        throw error;
      }
      done = following;
    }
    return bytes;
  }

  /** Waits for a chunk, passes its bytes to `use`, and returns the staging buffer to the pool. */
  async #consume({ staging, mapped }: Chunk, use: (range: ArrayBuffer) => void): Promise<void> {
    try {
      use(await this.faults.settle(mapped));
    } catch (error) {
      staging.destroy();
      throw error;
    }
    staging.unmap();
    this.#release(staging);
  }

  #start(source: GPUBuffer, byteOffset: number, byteLength: number): Chunk {
    const staging = this.#acquire(byteLength);
    this.queue.copyOut(source, byteOffset, staging.gpu, byteLength);
    this.queue.submitBeforeWait();
    const mapped = staging.map(byteLength);
    // The device is waited for anyway, so the memory of earlier writes is mapped again without a further wait.
    this.queue.uploads.reclaim();
    // `#consume` handles the rejection. If an earlier chunk fails, nobody awaits this one.
    mapped.catch(() => {});
    return { staging, byteLength, mapped };
  }

  #acquire(byteLength: number): StagingBuffer {
    const size = Math.min(
      Math.max(SMALLEST_STAGING_BYTES, 2 ** Math.ceil(Math.log2(byteLength))),
      Math.max(this.chunkBytes, byteLength),
    );
    return this.#idle.get(size)?.pop() ?? new StagingBuffer(this.device, size);
  }

  #release(staging: StagingBuffer): void {
    const idle = this.#idle.get(staging.byteLength) ?? [];
    this.#idle.set(staging.byteLength, idle);
    if (idle.length < MAX_IDLE_PER_SIZE) idle.push(staging);
    else staging.destroy();
  }
}
