/** Brings a strip of raw elements onto the device as f32, through two staging buffers that every strip reuses. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { checkFinite } from "../../kernels/check.ts";
import { DTYPE_CODE, toFloat32 } from "../../kernels/convert.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../../tensor/dtype.ts";
import type { DeferredChecks } from "./deferred_checks.ts";
import { NonFiniteError } from "../errors.ts";

/** What an upload is checked for. */
export interface UploadedTensor {
  readonly name: string;
  readonly dtype: FloatDtype;
}

/** The staging buffers of one body. */
export class Uploader {
  readonly #backend: Backend;
  readonly #flaws: DeferredChecks;
  #raw: DeviceBuffer | undefined;
  #wide: DeviceBuffer | undefined;

  constructor(backend: Backend, flaws: DeferredChecks) {
    this.#backend = backend;
    this.#flaws = flaws;
  }

  /**
   * Queues the upload and the check of `count` elements into a buffer of the uploader's, valid until the next upload.
   * `locate` turns an index of the strip into one of the tensor.
   */
  stage(
    tensor: UploadedTensor,
    bytes: Uint8Array,
    count: number,
    locate: (index: number) => readonly number[],
  ): DeviceBuffer {
    const target = this.#wide = this.#atLeast(this.#wide, "strip in f32", 4 * count);
    this.into(target, 0, tensor, bytes, count, locate);
    return target;
  }

  /** As `stage`, into element `offset` and on of `target`. */
  into(
    target: DeviceBuffer,
    offset: number,
    { name, dtype }: UploadedTensor,
    bytes: Uint8Array,
    count: number,
    locate: (index: number) => readonly number[],
  ): void {
    if (BYTES_PER_ELEMENT[dtype] === 4) {
      this.#backend.write(target, 4 * offset, bytes);
    } else {
      const source = this.#raw = this.#atLeast(this.#raw, "strip as it came", bytes.byteLength);
      this.#backend.write(source, 0, bytes);
      this.#backend.dispatch(toFloat32, { source, target }, {
        count,
        dtype: DTYPE_CODE[dtype],
        source_offset: 0,
        target_offset: offset,
      });
    }
    const slot = this.#flaws.open((index) => new NonFiniteError(name, locate(index)));
    this.#backend.dispatch(checkFinite, { x: target, first: this.#flaws.buffer }, { count, offset, slot });
  }

  /** Frees the staging buffers. */
  destroy(): void {
    this.#raw?.destroy();
    this.#wide?.destroy();
  }

  /** `buffer` if it is large enough, else a new one; strips of one tensor have nearly one size, so this settles at once. */
  #atLeast(buffer: DeviceBuffer | undefined, label: string, byteLength: number): DeviceBuffer {
    if (buffer && buffer.byteLength >= byteLength) return buffer;
    const larger = this.#backend.createBuffer(label, byteLength);
    buffer?.destroy();
    return larger;
  }
}
