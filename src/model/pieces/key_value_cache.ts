/**
 * The keys and values of the tokens of one window that a block has processed in earlier passes, or the state of linear attention after
 * them. The cache has whole rows of the buffers from which attention reads keys and values, so a `ColumnsView` is valid for a buffer and
 * for the cache. If one linear layer computes queries, keys and values, the queries are stored with them.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { ColumnsView } from "./columns_view.ts";

export class KeyValueCache {
  readonly #backend: Backend;
  /** The rows of keys, and of values unless they lie in the same rows. */
  readonly #buffers: DeviceBuffer[] = [];
  #state?: DeviceBuffer;

  constructor(
    backend: Backend,
    /** The number of tokens for which the cache has room. */
    readonly capacity: number,
    /** The number of tokens in the cache. The caller raises it after each pass. */
    public past = 0,
  ) {
    this.#backend = backend;
  }

  /**
   * Queues copying the first `rows` rows of the buffers of keys and values into the cache, after the tokens that it has already.
   * @returns the keys and values of all tokens
   * @throws {OutOfDeviceMemoryError} if the memory for `capacity` tokens cannot be allocated
   */
  append(k: ColumnsView, v: ColumnsView, rows: number): { readonly k: ColumnsView; readonly v: ColumnsView } {
    const keys = this.#copy(0, k, rows);
    return { k: keys, v: v.buffer === k.buffer ? { ...v, buffer: keys.buffer } : this.#copy(1, v, rows) };
  }

  #copy(index: number, source: ColumnsView, rows: number): ColumnsView {
    const rowBytes = 4 * source.ld;
    const buffer = this.#buffers[index] ??= this.#backend.createBuffer(
      "keys and values of earlier tokens",
      this.capacity * rowBytes,
    );
    this.#backend.copy(source.buffer, 0, buffer, this.past * rowBytes, rows * rowBytes);
    return { ...source, buffer };
  }

  /** Returns the state of linear attention, `count` f32. Its contents are undefined before the first pass. */
  state(count: number): DeviceBuffer {
    return this.#state ??= this.#backend.createBuffer("state of linear attention", 4 * count);
  }

  /** Frees the device memory. */
  destroy(): void {
    this.#state?.destroy();
    for (const buffer of this.#buffers) buffer.destroy();
  }
}
