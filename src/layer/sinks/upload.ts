/** Uploads strips of raw elements to the device and converts them to f32. All strips share two staging buffers. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { checkFinite } from "../../kernels/check.ts";
import { DTYPE_CODE, toFloat32 } from "../../kernels/convert.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../../tensor/dtype.ts";
import type { DeferredChecks } from "./deferred_checks.ts";
import { NonFiniteError } from "../errors.ts";

/** The tensor that a strip belongs to. Its values are checked to be finite. */
export interface UploadedTensor {
  readonly name: string;
  readonly dtype: FloatDtype;
}

/** The staging buffers of one body. */
export class Uploader {
  readonly #backend: Backend;
  readonly #checks: DeferredChecks;
  #raw: DeviceBuffer | undefined;
  #wide: DeviceBuffer | undefined;

  constructor(backend: Backend, checks: DeferredChecks) {
    this.#backend = backend;
    this.#checks = checks;
  }

  /**
   * Queues the upload and the check of `count` elements into the uploader's own buffer, which is valid until the next upload.
   * @param locate turns an index into the strip into an index into the tensor, for the error message
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

  /** As `stage`, but uploads to `target`, starting at element `offset`. */
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
      const source = this.#raw = this.#atLeast(this.#raw, "raw strip", bytes.byteLength);
      this.#backend.write(source, 0, bytes);
      this.#backend.dispatch(toFloat32, { source, target }, {
        count,
        dtype: DTYPE_CODE[dtype],
        source_offset: 0,
        target_offset: offset,
      });
    }
    const slot = this.#checks.open((index) => new NonFiniteError(name, locate(index)));
    this.#backend.dispatch(checkFinite, { x: target, first: this.#checks.buffer }, { count, offset, slot });
  }

  /** Frees the staging buffers. */
  destroy(): void {
    this.#raw?.destroy();
    this.#wide?.destroy();
  }

  /** Returns `buffer` if it is large enough, else a new one. The strips of a tensor have nearly the same size, so growth is rare. */
  #atLeast(buffer: DeviceBuffer | undefined, label: string, byteLength: number): DeviceBuffer {
    if (buffer && buffer.byteLength >= byteLength) return buffer;
    const larger = this.#backend.createBuffer(label, byteLength);
    buffer?.destroy();
    return larger;
  }
}
