/**
 * A cache of bind groups. A bind group is WebGPU's object for the buffers that one dispatch uses. Algorithms use the
 * same few sets of buffers again and again, so a bind group is reused until one of its buffers is destroyed.
 */

import { type BindingLayout, PARAMS_BYTES } from "./pipeline_cache.ts";
import type { WebGpuBuffer } from "./webgpu_buffer.ts";

interface Entry {
  readonly group: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
}

/**
 * The bind groups of one device. The last entry of every bind group is the uniform buffer, in which each dispatch reads
 * its parameters at an offset of its own (a dynamic offset).
 */
export class BindGroupCache {
  readonly #entries = new Map<string, Entry>();
  /** For each buffer, the keys of the entries that contain it. These entries are evicted with the buffer. */
  readonly #keysOf = new Map<WebGpuBuffer, Set<string>>();

  /** @param params the uniform buffer with the parameters of dispatches */
  constructor(private readonly device: GPUDevice, private readonly params: GPUBuffer) {}

  /** The number of cached bind groups. */
  get size(): number {
    return this.#entries.size;
  }

  /** Returns the bind group of `buffers`, which are in binding order. Creates it if it is not cached. */
  get(layout: BindingLayout, buffers: readonly WebGpuBuffer[]): GPUBindGroup {
    let key = layout.key;
    for (const buffer of buffers) key += `,${buffer.id}`;
    const cached = this.#entries.get(key);
    if (cached) return cached.group;
    const entries: GPUBindGroupEntry[] = buffers.map(({ gpu }, binding) => ({
      binding,
      resource: { buffer: gpu },
    }));
    entries.push({ binding: buffers.length, resource: { buffer: this.params, size: PARAMS_BYTES } });
    const group = this.device.createBindGroup({
      label: layout.key,
      layout: layout.bindGroupLayout,
      entries,
    });
    this.#entries.set(key, { group, buffers });
    for (const buffer of buffers) {
      const keys = this.#keysOf.get(buffer);
      if (keys) keys.add(key);
      else this.#keysOf.set(buffer, new Set([key]));
    }
    return group;
  }

  /** Removes every bind group that contains `buffer`. */
  evict(buffer: WebGpuBuffer): void {
    for (const key of this.#keysOf.get(buffer) ?? []) {
      for (const other of this.#entries.get(key)?.buffers ?? []) {
        if (other !== buffer) this.#keysOf.get(other)?.delete(key);
      }
      this.#entries.delete(key);
    }
    this.#keysOf.delete(buffer);
  }
}
