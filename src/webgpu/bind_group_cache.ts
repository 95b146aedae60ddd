/** Caches bind groups until one of their buffers is destroyed, because the blocked algorithms bind the same few buffers many times. */

import type { WebGpuBuffer } from "./webgpu_buffer.ts";
import { type BindingLayout, PARAMS_BYTES } from "./pipeline_cache.ts";

interface Entry {
  readonly group: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
}

/** The bind groups of one device. The last binding of each is the uniform buffer of parameters, at a dynamic offset. */
export class BindGroupCache {
  readonly #device: GPUDevice;
  readonly #params: GPUBuffer;
  readonly #entries = new Map<string, Entry>();
  /** For each buffer, the keys of the entries that bind it. They are evicted with the buffer. */
  readonly #keys = new Map<WebGpuBuffer, Set<string>>();

  constructor(device: GPUDevice, params: GPUBuffer) {
    this.#device = device;
    this.#params = params;
  }

  /** The number of cached bind groups. */
  get size(): number {
    return this.#entries.size;
  }

  /** Returns the bind group of `buffers`, which are in binding order. */
  get(layout: BindingLayout, buffers: readonly WebGpuBuffer[]): GPUBindGroup {
    let key = layout.key;
    for (const buffer of buffers) key += `,${buffer.id}`;
    const known = this.#entries.get(key);
    if (known) return known.group;
    const entries: GPUBindGroupEntry[] = buffers.map(({ gpu }, binding) => ({
      binding,
      resource: { buffer: gpu },
    }));
    entries.push({ binding: buffers.length, resource: { buffer: this.#params, size: PARAMS_BYTES } });
    const group = this.#device.createBindGroup({ label: layout.key, layout: layout.group, entries });
    this.#entries.set(key, { group, buffers });
    for (const buffer of buffers) {
      const keys = this.#keys.get(buffer);
      if (keys) keys.add(key);
      else this.#keys.set(buffer, new Set([key]));
    }
    return group;
  }

  /** Removes every bind group that binds `buffer`. */
  evict(buffer: WebGpuBuffer): void {
    for (const key of this.#keys.get(buffer) ?? []) {
      for (const other of this.#entries.get(key)?.buffers ?? []) {
        if (other !== buffer) this.#keys.get(other)?.delete(key);
      }
      this.#entries.delete(key);
    }
    this.#keys.delete(buffer);
  }
}
