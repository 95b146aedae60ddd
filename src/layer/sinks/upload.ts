/**
 * Uploads strips of a tensor, which are ranges of whole rows, to the device. There the strips are converted to f32 and checked for values
 * that are not finite. The checks run on the device while the body arrives. `DeferredChecks` collects their results, so that the CPU rarely
 * waits for them. `Uploader` does everything else.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { checkFinite, NOTHING_FOUND, OVERFLOW_BITS } from "../../device/kernels/transfer/check.ts";
import { DTYPE_CODE, toFloat32 } from "../../device/kernels/transfer/convert.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../../tensor/dtype.ts";
import { NonFiniteError } from "../errors.ts";

/**
 * The checks of one body. Each check has a slot, which is one element of a device buffer. If the check fails, its kernel stores the index
 * of the first invalid element in the slot. A function turns this index into the error to throw. All slots are read back at the end of the
 * body, and before that whenever all are in use.
 */
export class DeferredChecks {
  /** (capacity) u32, one slot per check. It is the `first` binding of the check kernels. */
  readonly buffer: DeviceBuffer;
  readonly #backend: Backend;
  readonly #capacity: number;
  #errors: ((index: number) => Error)[] = [];

  /**
   * @param capacity the largest number of checks whose results may be pending
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(backend: Backend, capacity: number) {
    this.#backend = backend;
    this.#capacity = capacity;
    this.buffer = backend.createBuffer("deferred checks", 4 * capacity);
    backend.write(this.buffer, 0, new Uint8Array(new Uint32Array(capacity).fill(NOTHING_FOUND).buffer));
  }

  get freeSlots(): number {
    return this.#capacity - this.#errors.length;
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

  /**
   * Waits for all checks that were added, and frees their slots. The slots of passed checks need no other value, because a kernel writes to
   * its slot only if its check fails.
   * @throws the error of the first failed check, in the order of `add`
   */
  async throwFirstFailure(): Promise<void> {
    if (this.#errors.length === 0) return;
    const bytes = await this.#backend.read(this.buffer, 0, 4 * this.#errors.length);
    const found = new Uint32Array(bytes.buffer);
    const slot = found.findIndex((index) => index !== NOTHING_FOUND);
    if (slot >= 0) throw this.#errors[slot](found[slot]);
    this.#errors = [];
  }

  destroy(): void {
    this.buffer.destroy();
  }
}

export interface UploadedTensor {
  readonly name: string;
  readonly dtype: FloatDtype;
}

/** A position in a device buffer. The offset is in elements of f32. */
export interface UploadTarget {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
}

/** Uploads the strips of one body. All strips share two staging buffers on the device. */
export class Uploader {
  readonly #backend: Backend;
  readonly #checks: DeferredChecks;
  /** The staging buffer for the elements of a strip before their conversion. */
  #source: DeviceBuffer | undefined;
  /** The staging buffer for the elements of a strip in f32, if the caller has no buffer for them. */
  #float32: DeviceBuffer | undefined;

  constructor(backend: Backend, checks: DeferredChecks) {
    this.#backend = backend;
    this.#checks = checks;
  }

  /**
   * Queues the upload, the conversion and the check of the `count` elements of a strip.
   * @param bytes the elements in the tensor's dtype
   * @param locate turns an index in the strip into an index in the tensor, for the error message
   */
  upload(
    { name, dtype }: UploadedTensor,
    bytes: Uint8Array,
    count: number,
    locate: (index: number) => readonly number[],
    { buffer: target, offset }: UploadTarget,
  ): void {
    if (BYTES_PER_ELEMENT[dtype] === 4) {
      this.#backend.write(target, 4 * offset, bytes);
    } else {
      const source = this.#source = this.#ensureBuffer(this.#source, "raw strip", bytes.byteLength);
      this.#backend.write(source, 0, bytes);
      this.#backend.dispatch(toFloat32, { source, target }, {
        count,
        dtype: DTYPE_CODE[dtype],
        source_offset: 0,
        target_offset: offset,
      });
    }
    const slot = this.#checks.add((index) => new NonFiniteError(name, locate(index)));
    const params = { count, offset, cols: count, ld: count, limit: OVERFLOW_BITS.F32, slot };
    this.#backend.dispatch(checkFinite, { x: target, first: this.#checks.buffer }, params);
  }

  /** Like `upload`, but uploads to a staging buffer and returns it. The buffer's contents are valid until the next upload. */
  uploadToStaging(
    tensor: UploadedTensor,
    bytes: Uint8Array,
    count: number,
    locate: (index: number) => readonly number[],
  ): DeviceBuffer {
    const buffer = this.#float32 = this.#ensureBuffer(this.#float32, "strip in f32", 4 * count);
    this.upload(tensor, bytes, count, locate, { buffer, offset: 0 });
    return buffer;
  }

  destroy(): void {
    this.#source?.destroy();
    this.#float32?.destroy();
  }

  /**
   * Returns `buffer` if it is large enough. Otherwise frees it and returns a new one. The strips of a tensor have similar sizes, so a new
   * buffer is rarely needed.
   */
  #ensureBuffer(buffer: DeviceBuffer | undefined, label: string, byteLength: number): DeviceBuffer {
    if (buffer && buffer.byteLength >= byteLength) return buffer;
    const larger = this.#backend.createBuffer(label, byteLength);
    buffer?.destroy();
    return larger;
  }
}
