/** Bind groups, kept while their buffers live: the blocked algorithms bind the same few buffers again and again. */

import type { WebGpuBuffer } from "./buffers.ts";
import { type BindingLayout, PARAMS_BYTES } from "./pipelines.ts";

interface Entry {
  readonly group: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
}

/** The bind groups of one device; each ends with the one uniform buffer, at a dynamic offset. */
export class BindGroupCache {
  readonly #device: GPUDevice;
  readonly #params: GPUBuffer;
  readonly #entries = new Map<string, Entry>();
  /** The keys of the entries a buffer is in, so that its end is theirs. */
  readonly #keys = new Map<WebGpuBuffer, Set<string>>();

  constructor(device: GPUDevice, params: GPUBuffer) {
    this.#device = device;
    this.#params = params;
  }

  /** Bind groups alive. */
  get size(): number {
    return this.#entries.size;
  }

  /** The bind group of `buffers`, in binding order. */
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

  /** Forgets every bind group that `buffer` is in. */
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
