/**
 * Encodes the parameters of a dispatch as the uniform struct of its shader. The struct contains the parameters in the
 * order of the kernel's declaration, with 4 bytes each.
 */

import type { Kernel } from "../kernels/kernel.ts";
import { writeParams } from "../call_checks.ts";
import { PARAMS_BYTES } from "./pipeline_cache.ts";

/** Encodes parameters into one array, which is reused by every call. */
export class ParamsEncoder {
  readonly #words = new Uint32Array(PARAMS_BYTES / 4);
  readonly #floats = new Float32Array(this.#words.buffer);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  /** Returns the encoded struct. The bytes are valid until the next call. @throws the errors of `writeParams` */
  encode(kernel: Kernel, params: Readonly<Record<string, number>>): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, 4 * writeParams(kernel, params, this.#words, this.#floats, 0));
  }
}
