/**
 * A mappable buffer through which bytes are read back. Mapping it avoids a delay of Deno 2.9: when `mapAsync` returns, Deno has already
 * waited for the device, but it resolves the promise only after a polling sleep of 11 ms, which is as long as the whole solve of a small
 * layer. So this file asks for the mapped range at once. If the buffer is not mapped yet, WebGPU refuses with an error, and the promise
 * is awaited instead. Deno 2.9 panics if a buffer that was never mapped is asked for its range, so the first mapping of each buffer is
 * always awaited, and so is every mapping on other versions of Deno.
 */

import { setImmediate } from "node:timers/promises";

/** The versions of Deno whose `mapAsync` is known to behave as described above. */
const MAPS_BEFORE_RESOLVING = /^2\.9\./;

/** The version of Deno, or undefined in other runtimes. */
const version = (globalThis as { Deno?: { version: { deno: string } } }).Deno?.version.deno;

/** Whether the mapped range may be requested before the promise of `mapAsync` resolves. */
const ASKS_EARLY = version !== undefined && MAPS_BEFORE_RESOLVING.test(version);

/**
 * Returns `value` after the runtime has reported the errors of earlier work. It reports them at the start of its next turn, and an
 * immediate ends the current turn.
 */
async function afterFaults<T>(value: T): Promise<T> {
  await setImmediate();
  return await setImmediate(value);
}

/** One staging buffer. Each use maps it, reads it and unmaps it. */
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
   * Maps the first `byteLength` bytes after the device has finished the submitted work. The returned range is valid until
   * {@link unmap}.
   */
  map(byteLength: number): Promise<ArrayBuffer> {
    const mapped = this.gpu.mapAsync(GPUMapMode.READ, 0, byteLength);
    const range = this.#mappedBefore ? this.#rangeIfMapped(byteLength) : undefined;
    if (range) {
      mapped.catch(() => {}); // unmapping may reject the pending promise; that is no failure, because the bytes were read
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
