/**
 * A device buffer for the batch on which the device works. It is as large as the largest batch, and is reused for all batches.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { BatchBytes } from "./hidden_states_store.ts";

/** A reusable buffer that is allocated on first use. */
export class ScratchBuffer {
  readonly #backend: Backend;
  readonly #byteLength: number;
  #buffer?: DeviceBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#byteLength = Math.max(...batches.map(({ length }) => length));
  }

  /** Queues the upload of `bytes` and returns the buffer. */
  upload(bytes: Uint8Array): DeviceBuffer {
    const buffer = this.#allocated();
    this.#backend.write(buffer, 0, bytes);
    return buffer;
  }

  /** Queues a copy of the first `byteLength` bytes of `source` and returns the buffer. */
  copyOf(source: DeviceBuffer, byteLength: number): DeviceBuffer {
    const buffer = this.#allocated();
    this.#backend.copy(source, 0, buffer, 0, byteLength);
    return buffer;
  }

  /** Frees the buffer. */
  destroy(): void {
    this.#buffer?.destroy();
  }

  #allocated(): DeviceBuffer {
    return this.#buffer ??= this.#backend.createBuffer("hidden states", this.#byteLength);
  }
}
