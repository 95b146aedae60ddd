/** Lays a dispatch's parameters out as its shader's uniform struct: 4 bytes each, in declaration order. */

import type { Kernel } from "../kernels/kernel.ts";
import { PARAMS_BYTES } from "./pipelines.ts";

const MAX_U32 = 0xffffffff;

/** Encodes parameter blocks into one reused array. */
export class ParamsEncoder {
  readonly #words = new Uint32Array(PARAMS_BYTES / 4);
  readonly #floats = new Float32Array(this.#words.buffer);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  /**
   * The block of `params`, valid until the next call.
   * @throws {TypeError} a parameter is missing, unknown or no number; {RangeError} a u32 is not one
   */
  encode(kernel: Kernel, params: Readonly<Record<string, number>>): Uint8Array<ArrayBuffer> {
    let count = 0;
    for (const name in kernel.params) {
      const value = params[name];
      if (typeof value !== "number") {
        throw new TypeError(`dispatch of ${kernel.name}: parameter ${name} must be a number, got ${value}`);
      }
      if (kernel.params[name] === "f32") {
        this.#floats[count++] = value;
      } else if (Number.isInteger(value) && value >= 0 && value <= MAX_U32) {
        this.#words[count++] = value;
      } else {
        throw new RangeError(
          `dispatch of ${kernel.name}: parameter ${name} must be an integer from 0 to 2³²−1, got ${value}`,
        );
      }
    }
    refuseUnknown(kernel, "parameter", params, kernel.params, count);
    return this.#bytes.subarray(0, count * 4);
  }
}

/** @throws {TypeError} naming a key of `given` that `declared`, all of whose `count` keys are in `given`, has not */
export function refuseUnknown(
  kernel: Kernel,
  what: string,
  given: Readonly<Record<string, unknown>>,
  declared: Readonly<Record<string, unknown>>,
  count: number,
): void {
  const names = Object.keys(given);
  if (names.length === count) return;
  const unknown = names.find((name) => !(name in declared));
  throw new TypeError(`dispatch of ${kernel.name}: it has no ${what} ${unknown}`);
}
