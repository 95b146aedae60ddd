/** Tensors from and to arrays of numbers, and the packed upper triangle of a Hessian. */

import {
  bytesToFloats,
  elementCount,
  type FloatDtype,
  floatsToBytes,
  isFloatDtype,
} from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";

/**
 * Makes a tensor of numbers in row-major order. The numbers are copied.
 *
 * @example
 * ```ts
 * const weight = tensorFromFloats(new Float32Array(64 * 96), [64, 96]);
 * ```
 *
 * @param values the elements. Element (i, j) of a matrix with `cols` columns has the index i·cols + j
 * @param shape the extents, outermost first. A weight has the shape [out, in], inputs have [tokens, in]
 * @param dtype the dtype of the tensor. F16 and BF16 round to nearest, ties to even. @default "F32"
 * @throws {RangeError} if `shape` does not have as many elements as `values`
 */
export function tensorFromFloats(
  values: Float32Array,
  shape: readonly number[],
  dtype: FloatDtype = "F32",
): HostTensor {
  const count = elementCount(shape);
  if (count !== values.length) {
    throw new RangeError(
      `shape [${shape.join(", ")}]: has ${count} elements, but ${values.length} were given`,
    );
  }
  return { dtype, shape: [...shape], data: floatsToBytes(values, dtype) };
}

/**
 * Returns a copy of the elements of an F32, F16 or BF16 tensor as numbers, in row-major order. The conversion is exact.
 * @throws {TypeError} if the tensor has another dtype
 */
export function floatsFromTensor({ dtype, data }: HostTensor): Float32Array<ArrayBuffer> {
  if (!isFloatDtype(dtype)) throw new TypeError(`dtype ${dtype}: must be F32, F16 or BF16`);
  return bytesToFloats(data, dtype);
}

/**
 * Computes the tensor `hessian_upper` of a request: the upper triangle of Σ x·xᵀ over all tokens, packed row by row.
 * The sums are accumulated in float64 and rounded once. The time grows with tokens·in², about one second per 10⁹
 * products. For a wide layer with many tokens, send the tokens as the tensor `inputs` instead.
 *
 * @example
 * ```ts
 * const hessian_upper = hessianUpper([tensorFromFloats(activations, [tokens, 96])]);
 * ```
 *
 * @param batches the inputs x of the layer, in any number of parts: (tokens, in), F32, F16 or BF16, with the same `in`
 * @returns F32 (in·(in+1)/2). Entry (i, j) of the Hessian, i ≤ j, has the index i·in − i·(i−1)/2 + j − i
 * @throws {RangeError} if a part is not a matrix, if two parts differ in `in`, or if there are no tokens
 * @throws {TypeError} if a part has another dtype
 */
export function hessianUpper(batches: Iterable<HostTensor>): HostTensor {
  let cols: number | undefined, tokens = 0, sums = new Float64Array();
  for (const batch of batches) {
    const [rows, width] = shapeOf(batch);
    if (cols === undefined) sums = new Float64Array(width * (width + 1) / 2);
    else if (width !== cols) {
      throw new RangeError(`inputs: a part has ${width} columns, but another has ${cols}`);
    }
    cols = width;
    tokens += rows;
    const values = floatsFromTensor(batch);
    for (let row = 0; row < rows; row++) addProducts(sums, values.subarray(row * cols, (row + 1) * cols));
  }
  if (tokens === 0) throw new RangeError("inputs: must have at least one token, got 0");
  return tensorFromFloats(Float32Array.from(sums), [sums.length]);
}

/** Adds the upper triangle of x·xᵀ. */
function addProducts(sums: Float64Array, x: Float32Array): void {
  for (let i = 0, at = 0; i < x.length; i++) {
    const xi = x[i];
    for (let j = i; j < x.length; j++, at++) sums[at] += xi * x[j];
  }
}

function shapeOf({ shape }: HostTensor): readonly [rows: number, cols: number] {
  if (shape.length !== 2) {
    throw new RangeError(`inputs: a part has the shape [${shape.join(", ")}], but must be [tokens, in]`);
  }
  return [shape[0], shape[1]];
}
