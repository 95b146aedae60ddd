/** One device buffer, as large as the largest batch, that holds a batch while the device works on it. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { BatchBytes } from "./states_store.ts";

/** A buffer that is allocated on first use and reused for every batch. */
export class ScratchStates {
  readonly #backend: Backend;
  readonly #byteLength: number;
  #buffer?: DeviceBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#byteLength = Math.max(...batches.map(({ length }) => length));
  }

  /** Queues the upload of `bytes`. */
  upload(bytes: Uint8Array): DeviceBuffer {
    const buffer = this.#get();
    this.#backend.write(buffer, 0, bytes);
    return buffer;
  }

  /** Queues a copy of `source`. */
  copyOf(source: DeviceBuffer, byteLength: number): DeviceBuffer {
    const buffer = this.#get();
    this.#backend.copy(source, 0, buffer, 0, byteLength);
    return buffer;
  }

  destroy(): void {
    this.#buffer?.destroy();
  }

  #get(): DeviceBuffer {
    return this.#buffer ??= this.#backend.createBuffer("hidden states", this.#byteLength);
  }
}
