/**
 * Checks that run on the device while a body streams in, and are read back once at its end. Each check has a slot that holds the lowest
 * index found at fault, and knows what error that index means.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { NOTHING_FOUND } from "../../kernels/check.ts";

/** The slots of one body. */
export class DeferredChecks {
  /** (capacity) u32, for the `first` binding of the check kernels. */
  readonly buffer: DeviceBuffer;
  readonly #backend: Backend;
  readonly #capacity: number;
  readonly #errors: ((index: number) => Error)[] = [];

  /** @throws {RangeError} when the device has no room */
  constructor(backend: Backend, capacity: number) {
    this.#backend = backend;
    this.#capacity = capacity;
    this.buffer = backend.createBuffer("flaw slots", 4 * capacity);
    backend.write(this.buffer, 0, new Uint8Array(new Uint32Array(capacity).fill(NOTHING_FOUND).buffer));
  }

  /** A new slot; `describe` gives the error for the index found there. */
  open(describe: (index: number) => Error): number {
    if (this.#errors.length === this.#capacity) {
      throw new TypeError(`flaw slots: all ${this.#capacity} are taken`);
    }
    return this.#errors.push(describe) - 1;
  }

  /** Waits for the checks queued so far. @throws the error of the first slot that found something */
  async settle(): Promise<void> {
    if (this.#errors.length === 0) return;
    const bytes = await this.#backend.read(this.buffer, 0, 4 * this.#errors.length);
    const found = new Uint32Array(bytes.buffer);
    const slot = found.findIndex((index) => index !== NOTHING_FOUND);
    if (slot >= 0) throw this.#errors[slot](found[slot]);
  }

  destroy(): void {
    this.buffer.destroy();
  }
}
