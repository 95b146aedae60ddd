/**
 * Device memory for the activations of a forward pass. Every block and every batch uses activations of the same names and sizes, so their
 * buffers are reused.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";

/** A set of named buffers. The caller destroys the workspace after the forward pass. */
export class ForwardWorkspace {
  readonly #backend: Backend;
  readonly #buffers = new Map<string, DeviceBuffer>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Returns the buffer `name` with room for at least `count` f32. Its contents are undefined. A buffer that is too small is replaced. */
  buffer(name: string, count: number): DeviceBuffer {
    return this.#named(name, count);
  }

  #named(name: string, count: number): DeviceBuffer {
    const existing = this.#buffers.get(name);
    if (existing && existing.byteLength >= count * 4) return existing;
    existing?.destroy();
    this.#buffers.delete(name);
    const buffer = this.#backend.createBuffer(name, count * 4);
    this.#buffers.set(name, buffer);
    return buffer;
  }

  /** Returns a buffer with `count` zeros. The caller must not write to it. */
  zeros(count: number): DeviceBuffer {
    return this.constant("zeros", count, () => new Float32Array(count));
  }

  /** Returns a buffer with `count` ones. The caller must not write to it. */
  ones(count: number): DeviceBuffer {
    return this.constant("ones", count, () => new Float32Array(count).fill(1));
  }

  /**
   * Returns the buffer `name`, which holds the `count` f32 that `compute` returns. The caller must not write to it. `compute` is only
   * called if the buffer has to be created, so it must return the same values whenever it is called for `name`.
   */
  constant(name: string, count: number, compute: () => Float32Array<ArrayBuffer>): DeviceBuffer {
    const existing = this.#buffers.get(name);
    const buffer = this.#named(name, count);
    if (buffer !== existing) this.#backend.write(buffer, 0, new Uint8Array(compute().buffer));
    return buffer;
  }

  /** A small buffer for a binding that a kernel declares but does not read. */
  get placeholder(): DeviceBuffer {
    return this.#named("placeholder", 1);
  }

  destroy(): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
  }
}
