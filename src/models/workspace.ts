/**
 * Device memory for the intermediate activations of a forward, kept between blocks and batches: every block
 * asks for the same names and sizes, so a buffer is made once.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";

/** Buffers by name. Destroy it when the forward is over. */
export class Workspace {
  readonly #backend: Backend;
  readonly #buffers = new Map<string, DeviceBuffer>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** A buffer of at least `count` f32, the same one for the same `name` while it is large enough. Contents are undefined. */
  take(name: string, count: number): DeviceBuffer {
    const kept = this.#buffers.get(name);
    if (kept && kept.byteLength >= count * 4) return kept;
    kept?.destroy();
    this.#buffers.delete(name);
    const buffer = this.#backend.createBuffer(name, count * 4);
    this.#buffers.set(name, buffer);
    return buffer;
  }

  /** `count` zeros, to be read only. */
  zeros(count: number): DeviceBuffer {
    return this.constant("zeros", count, () => new Float32Array(count));
  }

  /** `count` f32 to be read only, made when `name` is first asked for: what is made must depend on nothing else. */
  constant(name: string, count: number, make: () => Float32Array<ArrayBuffer>): DeviceBuffer {
    const kept = this.#buffers.get(name);
    const buffer = this.take(name, count);
    if (buffer !== kept) this.#backend.write(buffer, 0, new Uint8Array(make().buffer));
    return buffer;
  }

  /** Stands in for a binding that the kernel is told not to read. */
  get unused(): DeviceBuffer {
    return this.take("unused", 1);
  }

  /** Frees everything. */
  destroy(): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
  }
}
