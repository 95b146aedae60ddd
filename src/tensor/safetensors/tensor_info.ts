/**
 * Parses the entry of one tensor in a safetensors header and checks the rules that concern this tensor alone.
 * The rules for gaps and overlaps between tensors are in `header.ts`.
 */

import { type Dtype, isDtype } from "../dtype.ts";
import { tensorBytes } from "../shape.ts";
import { quote, SafetensorsError } from "./error.ts";
import { isObject } from "./header_json.ts";

/** The entry of one tensor in a header. */
export interface TensorInfo {
  /** The name of the tensor, unique in the file. */
  readonly name: string;
  /** The type of its elements. */
  readonly dtype: Dtype;
  /** The extents, outermost first. `[]` is the shape of a scalar. */
  readonly shape: readonly number[];
  /** The offset of the first byte from the start of the data section. */
  readonly begin: number;
  /** The offset after the last byte. `end - begin` is exactly the size that dtype and shape need. */
  readonly end: number;
}

/**
 * Parses the entry of the tensor `name`.
 *
 * @throws {SafetensorsError} `malformed`, with `tensor` set, if a key is missing or unknown, the dtype is not
 *   supported, a number is not a safe integer, or the length of the data is not what dtype and shape need
 */
export function parseTensorInfo(name: string, entry: unknown): TensorInfo {
  if (!name.isWellFormed()) throw malformed(name, "has a name that is not valid Unicode");
  if (!isObject(entry)) throw malformed(name, `must be an object, not ${quote(entry)}`);
  const { dtype, shape, data_offsets: offsets, ...unknown } = entry;
  for (const key of Object.keys(unknown)) throw malformed(name, `has the unknown key ${quote(key)}`);
  if (typeof dtype !== "string" || !isDtype(dtype)) {
    throw malformed(name, `has the unknown dtype ${quote(dtype)}`);
  }
  if (!isSizes(shape)) {
    throw malformed(name, `needs a shape of integers from 0 to 2^53 - 1, not ${quote(shape)}`);
  }
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw malformed(name, `needs data_offsets [begin, end] with begin <= end, not ${quote(offsets)}`);
  }
  const [begin, end] = offsets;
  const needed = bytesNeeded(name, dtype, shape);
  if (end - begin !== needed) {
    throw malformed(name, `spans bytes ${begin}..${end} but ${dtype} ${quote(shape)} needs ${needed} bytes`);
  }
  return { name, dtype, shape, begin, end };
}

function bytesNeeded(name: string, dtype: Dtype, shape: readonly number[]): number {
  try {
    return tensorBytes(dtype, shape);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw malformed(name, `has shape ${quote(shape)}, but ${cause.message}`);
  }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function malformed(name: string, rule: string): SafetensorsError {
  return new SafetensorsError("malformed", `safetensors header: tensor ${quote(name)} ${rule}`, {
    tensor: name,
  });
}
