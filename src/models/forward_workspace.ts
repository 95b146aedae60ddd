/**
 * Device memory for the intermediate activations of a forward. Buffers are reused for all blocks and batches, because every block uses
 * the same names and sizes.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";

/** Buffers by name. Destroy it after the forward. */
export class Workspace {
  readonly #backend: Backend;
  readonly #buffers = new Map<string, DeviceBuffer>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Returns a buffer of at least `count` f32 with undefined contents. The same `name` returns the same buffer while it is large enough. */
  take(name: string, count: number): DeviceBuffer {
    const kept = this.#buffers.get(name);
    if (kept && kept.byteLength >= count * 4) return kept;
    kept?.destroy();
    this.#buffers.delete(name);
    const buffer = this.#backend.createBuffer(name, count * 4);
    this.#buffers.set(name, buffer);
    return buffer;
  }

  /** Returns `count` zeros, which must not be written. */
  zeros(count: number): DeviceBuffer {
    return this.constant("zeros", count, () => new Float32Array(count));
  }

  /** Returns `count` f32 values, which must not be written. `make` is called when `name` is first used, so its result may depend on nothing but `name`. */
  constant(name: string, count: number, make: () => Float32Array<ArrayBuffer>): DeviceBuffer {
    const kept = this.#buffers.get(name);
    const buffer = this.take(name, count);
    if (buffer !== kept) this.#backend.write(buffer, 0, new Uint8Array(make().buffer));
    return buffer;
  }

  /** A buffer for a binding that the kernel does not read. */
  get unused(): DeviceBuffer {
    return this.take("unused", 1);
  }

  /** Frees everything. */
  destroy(): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
  }
}
