/**
 * A staging buffer: memory that the device can copy to and the CPU can map, with a fast way to wait for the mapping.
 *
 * `mapAsync` of Deno 2.9 waits for the device before it returns, but its promise resolves only at the runtime's next poll,
 * 11 ms later, which is as long as the whole solve of a small layer. So after `mapAsync` has returned, this file first tries
 * `getMappedRange`, and awaits the promise only if that fails. The attempt is safe, because WebGPU returns a range only of a
 * buffer that is mapped. There is one exception: Deno 2.9 panics if the buffer was never mapped before, so the first
 * mapping of each buffer always awaits the promise. Other versions of Deno were not tested, so they always await it too.
 */

import { setImmediate } from "node:timers/promises";

/** The versions of Deno in which `mapAsync` behaves as described above. */
const MAPS_BEFORE_RESOLVING = /^2\.9\./;

/** The version of Deno, or undefined in other runtimes. */
const version = (globalThis as { Deno?: { version: { deno: string } } }).Deno?.version.deno;

/** Whether to try `getMappedRange` before the promise of `mapAsync` resolves. */
const TRIES_EARLY = version !== undefined && MAPS_BEFORE_RESOLVING.test(version);

/**
 * Resolves to `value` after the runtime has reported the errors of earlier work. It reports them at the start of the next
 * iteration of the event loop, so the first immediate ends the current iteration, and the second one the next.
 */
async function afterErrorReports<T>(value: T): Promise<T> {
  await setImmediate();
  return await setImmediate(value);
}

/** One staging buffer, which can be mapped, read and unmapped any number of times. */
export class StagingBuffer {
  readonly gpu: GPUBuffer;
  /** Whether `getMappedRange` may be tried early. It is false until the first mapping is done. */
  #canTryEarly = false;

  constructor(device: GPUDevice, readonly byteLength: number) {
    this.gpu = device.createBuffer({
      label: "read back",
      size: byteLength,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
  }

  /**
   * Maps the first `byteLength` bytes as soon as the device has done all submitted work, and returns them. They are valid
   * until {@link unmap}.
   */
  map(byteLength: number): Promise<ArrayBuffer> {
    const mapped = this.gpu.mapAsync(GPUMapMode.READ, 0, byteLength);
    const range = this.#canTryEarly ? this.#rangeIfMapped(byteLength) : undefined;
    if (range) {
      mapped.catch(() => {}); // `unmap` rejects the promise if it is still pending. The bytes were read, so this is no error.
      return afterErrorReports(range);
    }
    return mapped.then(() => {
      this.#canTryEarly = TRIES_EARLY;
      return this.gpu.getMappedRange(0, byteLength);
    });
  }

  /** The mapped bytes, or undefined if the buffer is not mapped yet. */
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
