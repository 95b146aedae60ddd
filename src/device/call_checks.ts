/** The checks of ranges, bindings and parameters that both backends make. */

import type { DeviceBuffer } from "./backend.ts";
import type { Kernel } from "./kernels/kernel.ts";

const MAX_U32 = 0xffffffff;

/**
 * Checks a byte range of `buffer`.
 * @param call the name of the call, for the error message
 * @throws {RangeError} if offset or length is not a multiple of 4, or the range extends past the end of the buffer
 */
export function checkByteRange(
  call: string,
  buffer: DeviceBuffer,
  byteOffset: number,
  byteLength: number,
): void {
  for (const [what, value] of [["offset", byteOffset], ["length", byteLength]] as const) {
    if (!Number.isSafeInteger(value) || value < 0 || value % 4 !== 0) {
      throw new RangeError(
        `${call} ${buffer.label}: byte ${what} must be a multiple of 4 and not negative, got ${value}`,
      );
    }
  }
  if (byteOffset + byteLength > buffer.byteLength) {
    throw new RangeError(
      `${call} ${buffer.label}: bytes ${byteOffset} to ${byteOffset + byteLength} extend past the end ` +
        `at ${buffer.byteLength}`,
    );
  }
}

/**
 * Returns the buffers in binding order.
 * @param own returns a buffer as one of the backend. It throws if the buffer is not, or was destroyed
 * @throws {TypeError} naming the kernel and the binding that is wrong
 */
export function resolveBindings<T extends DeviceBuffer>(
  kernel: Kernel,
  given: Readonly<Record<string, DeviceBuffer>>,
  own: (buffer: DeviceBuffer, what: string) => T,
): T[] {
  const bound: T[] = [];
  const names = Object.keys(kernel.bindings);
  for (const name of names) {
    if (!given[name]) throw new TypeError(`dispatch of ${kernel.name}: binding ${name} is missing`);
    const buffer = own(given[name], `dispatch of ${kernel.name}: binding ${name}`);
    const other = names[bound.indexOf(buffer)];
    if (other && (kernel.bindings[name] === "read_write" || kernel.bindings[other] === "read_write")) {
      throw new TypeError(
        `dispatch of ${kernel.name}: ${other} and ${name} are both ${buffer.label}, which the kernel writes`,
      );
    }
    bound.push(buffer);
  }
  rejectUndeclared(kernel, "binding", given, names.length);
  return bound;
}

/**
 * Writes the parameters of a dispatch in the order of the declaration, from word `start` on. Returns the end.
 * @param floats the words as f32
 * @throws {TypeError} if a parameter is missing, is not a number, or is not declared
 * @throws {RangeError} if a u32 parameter is not an integer from 0 to 2³²−1
 */
export function writeParams(
  kernel: Kernel,
  params: Readonly<Record<string, number>>,
  words: Uint32Array,
  floats: Float32Array,
  start: number,
): number {
  let end = start;
  for (const name in kernel.params) {
    const value = params[name];
    if (typeof value !== "number") {
      throw new TypeError(`dispatch of ${kernel.name}: parameter ${name} must be a number, got ${value}`);
    }
    if (kernel.params[name] === "f32") {
      floats[end++] = value;
    } else if (Number.isInteger(value) && value >= 0 && value <= MAX_U32) {
      words[end++] = value;
    } else {
      throw new RangeError(
        `dispatch of ${kernel.name}: parameter ${name} must be an integer from 0 to 2³²−1, got ${value}`,
      );
    }
  }
  rejectUndeclared(kernel, "parameter", params, end - start);
  return end;
}

/** Checks that `given`, which has all `count` declared keys, has no other. @throws {TypeError} naming another key */
function rejectUndeclared(
  kernel: Kernel,
  what: "binding" | "parameter",
  given: Readonly<Record<string, unknown>>,
  count: number,
): void {
  const names = Object.keys(given);
  if (names.length === count) return;
  const declared = what === "binding" ? kernel.bindings : kernel.params;
  const undeclared = names.find((name) => !(name in declared));
  throw new TypeError(`dispatch of ${kernel.name}: the kernel has no ${what} ${undeclared}`);
}
