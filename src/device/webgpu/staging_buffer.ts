/**
 * A staging buffer: memory that the device can copy and the CPU can map, with a fast way to wait for the mapping.
 *
 * `mapAsync` of Deno 2.9 waits for the device before it returns. But its promise resolves only at the runtime's next
 * poll, 11 ms later. A small layer takes as long to solve. So after `mapAsync` has returned, this file first tries
 * `getMappedRange`, and awaits the promise only if that fails. The attempt is safe, because WebGPU returns a range only
 * of a buffer that is mapped. There is one exception: Deno 2.9 panics if the buffer was never mapped before. So the
 * first mapping of a buffer that was not mapped at its creation awaits the promise, and so does every mapping in other
 * versions of Deno, which were not tested.
 */

import { afterErrorReports } from "./device_faults.ts";

/** The versions of Deno in which `mapAsync` behaves as described above. */
const MAPS_BEFORE_RESOLVING = /^2\.9\./;

/** The version of Deno, or undefined in other runtimes. */
const version = (globalThis as { Deno?: { version: { deno: string } } }).Deno?.version.deno;

const TRIES_EARLY = version !== undefined && MAPS_BEFORE_RESOLVING.test(version);

/** The direction in which a staging buffer carries bytes: from the device to the CPU, or from the CPU to the device. */
export type StagingDirection = "read back" | "upload";

/** One staging buffer, which can be mapped, used and unmapped any number of times. */
export class StagingBuffer {
  readonly gpu: GPUBuffer;
  readonly #mode: GPUMapModeFlags;
  /** Whether `getMappedRange` may be tried early. It is false until the first mapping is done. */
  #canTryEarly = false;

  /** Creates the buffer. A buffer for uploads is mapped at once, and `gpu.getMappedRange()` returns its bytes. */
  constructor(device: GPUDevice, readonly byteLength: number, direction: StagingDirection = "read back") {
    const isUpload = direction === "upload";
    this.#mode = isUpload ? GPUMapMode.WRITE : GPUMapMode.READ;
    this.#canTryEarly = isUpload && TRIES_EARLY;
    this.gpu = device.createBuffer({
      label: direction,
      size: byteLength,
      usage: isUpload
        ? GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC
        : GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      mappedAtCreation: isUpload,
    });
  }

  /** Maps the first `byteLength` bytes after all submitted work. They are valid until {@link unmap}. */
  async map(byteLength: number): Promise<ArrayBuffer> {
    const range = this.startMapping(byteLength);
    return range instanceof Promise ? await range : await afterErrorReports(range);
  }

  /** Like {@link map}, but returns mapped bytes at once, before errors of earlier work are reported. */
  startMapping(byteLength: number): ArrayBuffer | Promise<ArrayBuffer> {
    const mapped = this.gpu.mapAsync(this.#mode, 0, byteLength);
    const range = this.#canTryEarly ? this.#rangeIfMapped(byteLength) : undefined;
    if (range) {
      mapped.catch(() => {}); // `unmap` rejects the promise if it is still pending, which is not an error.
      return range;
    }
    return mapped.then(() => {
      this.#canTryEarly = TRIES_EARLY;
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
