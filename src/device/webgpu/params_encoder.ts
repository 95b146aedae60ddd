/**
 * Encodes the parameters of a dispatch as the uniform struct of its shader. The struct contains the parameters in the
 * order of the kernel's declaration, with 4 bytes each.
 */

import type { Kernel, ShaderVariant } from "../kernels/kernel.ts";
import { PARAMS_BYTES } from "./pipeline_cache.ts";
import { MAX_LOOP_ITERATIONS } from "../kernels/loop_count.ts";

const MAX_U32 = 0xffffffff;

/** Encodes parameters into one array, which is reused by every call. */
export class ParamsEncoder {
  readonly #words = new Uint32Array(PARAMS_BYTES / 4);
  readonly #floats = new Float32Array(this.#words.buffer);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  /**
   * Returns the encoded struct. The bytes are valid until the next call.
   * @throws {TypeError} if a parameter is missing, is not a number, or is not declared
   * @throws {RangeError} if a u32 parameter is not an integer from 0 to 2³²−1
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
    rejectUndeclared(kernel, "parameter", params, kernel.params, count);
    return this.#bytes.subarray(0, count * 4);
  }
}

/**
 * Checks that `given` has no key that `declared` lacks. The caller has checked that all `count` keys of `declared` are
 * in `given`, so it suffices to compare the number of keys.
 * @param what "binding" or "parameter", for the error message
 * @throws {TypeError} naming an undeclared key
 */
export function rejectUndeclared(
  kernel: Kernel,
  what: string,
  given: Readonly<Record<string, unknown>>,
  declared: Readonly<Record<string, unknown>>,
  count: number,
): void {
  const names = Object.keys(given);
  if (names.length === count) return;
  const undeclared = names.find((name) => !(name in declared));
  throw new TypeError(`dispatch of ${kernel.name}: the kernel has no ${what} ${undeclared}`);
}

/**
 * Checks the number of loop iterations of one dispatch. A shader that declares no loop count passes.
 * @throws {RangeError} naming the kernel and the count, if one invocation would need `MAX_LOOP_ITERATIONS` or more
 */
export function assertUnderLoopLimit(
  { name }: Kernel,
  shader: ShaderVariant,
  params: Readonly<Record<string, number>>,
): void {
  const iterations = shader.loops?.(params).iterations ?? 0;
  if (iterations >= MAX_LOOP_ITERATIONS) {
    throw new RangeError(
      `dispatch of ${name}: one invocation would need ${iterations} loop iterations, but a software adapter ` +
        `may end its loops after ${MAX_LOOP_ITERATIONS}`,
    );
  }
}
