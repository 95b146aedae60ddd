/**
 * Checks of tensor values that run on the device while a body arrives, so that the host never waits for a single check. All results are
 * read back once, at the end of the body.
 *
 * Each check has a slot, which is one element of a device buffer. The check stores there the lowest index at which it failed. The slot also
 * has a function that turns this index into the error to throw.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { NOTHING_FOUND } from "../../kernels/check.ts";

/** The checks of one body. */
export class DeferredChecks {
  /** (capacity) u32, one slot per check. It is the `first` binding of the check kernels. */
  readonly buffer: DeviceBuffer;
  readonly #backend: Backend;
  readonly #capacity: number;
  readonly #errors: ((index: number) => Error)[] = [];

  /** @param capacity the largest number of checks @throws {OutOfDeviceMemoryError} */
  constructor(backend: Backend, capacity: number) {
    this.#backend = backend;
    this.#capacity = capacity;
    this.buffer = backend.createBuffer("deferred checks", 4 * capacity);
    backend.write(this.buffer, 0, new Uint8Array(new Uint32Array(capacity).fill(NOTHING_FOUND).buffer));
  }

  /**
   * Adds a check. The caller queues the kernel that performs it.
   * @param toError turns the index at which the check failed into an error
   * @returns the slot of the check
   */
  add(toError: (index: number) => Error): number {
    if (this.#errors.length === this.#capacity) {
      throw new TypeError(`deferred checks: all ${this.#capacity} slots are in use`);
    }
    return this.#errors.push(toError) - 1;
  }

  /** Waits for all checks. @throws the error of the first check, in the order of `add`, that failed */
  async throwFirstFailure(): Promise<void> {
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
