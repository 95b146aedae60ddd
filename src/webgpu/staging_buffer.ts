/**
 * A mappable buffer through which bytes come back, and the wait for it. Deno 2.9 has waited for the device when `mapAsync` returns,
 * and yet resolves its promise only after its polling sleep: 11 ms, as long as a small layer's whole solve. The bytes are there before:
 * WebGPU gives out a mapped range only while the buffer is mapped, and refuses it otherwise, so asking is safe and the promise is
 * awaited where the answer is no. Asking is not safe for a buffer that was never mapped: Deno 2.9 panics; so the first
 * mapping of each is awaited, and so is every one on a version that this has not been tried on.
 */

import { setImmediate } from "node:timers/promises";

/** The runtime whose `mapAsync` is known to act as described. */
const MAPS_BEFORE_RESOLVING = /^2\.9\./;

/** The runtime's version; undefined where it is not Deno. */
const version = (globalThis as { Deno?: { version: { deno: string } } }).Deno?.version.deno;

/** Whether a mapped range may be asked for before the mapping's promise resolves. */
const ASKS_EARLY = version !== undefined && MAPS_BEFORE_RESOLVING.test(version);

/** Lets the faults of the work before be told first: the runtime does so at the start of its next turn, an immediate ends the present one. */
async function afterFaults<T>(value: T): Promise<T> {
  await setImmediate();
  return await setImmediate(value);
}

/** One staging buffer. It is mapped, read and unmapped by turns. */
export class StagingBuffer {
  readonly gpu: GPUBuffer;
  #mappedBefore = false;

  constructor(device: GPUDevice, readonly byteLength: number) {
    this.gpu = device.createBuffer({
      label: "read back",
      size: byteLength,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
  }

  /**
   * Maps the first `byteLength` bytes once the device is done with all that was submitted. They are there to be read until
   * {@link unmap}.
   */
  map(byteLength: number): Promise<ArrayBuffer> {
    const mapped = this.gpu.mapAsync(GPUMapMode.READ, 0, byteLength);
    const range = this.#mappedBefore ? this.#rangeIfMapped(byteLength) : undefined;
    if (range) {
      mapped.catch(() => {}); // unmapping may reject a promise that is still pending: no failure, the bytes were read
      return afterFaults(range);
    }
    return mapped.then(() => {
      this.#mappedBefore = ASKS_EARLY;
      return this.gpu.getMappedRange(0, byteLength);
    });
  }

  #rangeIfMapped(byteLength: number): ArrayBuffer | undefined {
    try {
      return this.gpu.getMappedRange(0, byteLength);
    } catch {
      return undefined;
    }
  }

  unmap(): void {
    this.gpu.unmap();
  }

  destroy(): void {
    this.gpu.destroy();
  }
}
