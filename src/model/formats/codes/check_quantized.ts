/** Checks the codes, scales and zeros of the solver before a format stores them. */

import { bytesToFloats, floatsToBytes, sameShape } from "../../../tensor/dtype.ts";
import { asFloat32, type HostTensor, type QuantizedWeight } from "../../../tensor/host_tensor.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { CodedWeight, WeightCodes } from "../format.ts";

/**
 * Returns the codes of a weight with the scales rounded to its dtype, in which they are stored.
 * @throws {RangeError} if the tensors have other dtypes or shapes than the grid needs, or if a code, a zero or a scale
 * is out of range. In the last case the message names the tensor and the entry
 */
export function checkQuantized(
  weight: CodedWeight,
  { codes, scales, zeros }: QuantizedWeight,
): WeightCodes {
  const { rows, cols, dtype } = weight, groups = gridsPerRow(weight, cols);
  requireTensor("codes", codes, "U8", [rows, cols]);
  requireTensor("scales", scales, "F32", [rows, groups]);
  requireTensor("zeros", zeros, "F32", [rows, groups]);
  const zeroCodes = checkedZeros(asFloat32(zeros.data), weight);
  checkCodes(codes.data, weight);
  const rounded = bytesToFloats(floatsToBytes(asFloat32(scales.data), dtype), dtype);
  checkScales(rounded, asFloat32(scales.data), weight);
  return { codes: codes.data, scales: rounded, zeros: zeroCodes };
}

function requireTensor(name: string, tensor: HostTensor, dtype: string, shape: readonly number[]): void {
  if (tensor.dtype === dtype && tensor.shape.length === 2 && sameShape(tensor.shape, shape)) return;
  throw new RangeError(`${name}: must be ${dtype} [${shape}], got ${tensor.dtype} [${tensor.shape}]`);
}

/** Checks the zeros of the grids and converts them to integers. */
function checkedZeros(zeros: Float32Array, shape: CodedWeight): Uint8Array<ArrayBuffer> {
  const { bits, symmetric } = shape, largest = 2 ** bits - 1, middle = 2 ** (bits - 1);
  const wrong = zeros.findIndex((zero) =>
    symmetric ? zero !== middle : !Number.isInteger(zero) || zero < 0 || zero > largest
  );
  if (wrong === -1) return Uint8Array.from(zeros);
  const rule = symmetric ? `${middle}, because the grid is symmetric` : `an integer from 0 to ${largest}`;
  throw new RangeError(
    `zeros: entry ${position(wrong, gridsPerRow(shape, shape.cols))} must be ${rule}, not ${zeros[wrong]}`,
  );
}

function checkCodes(codes: Uint8Array, { bits, cols }: CodedWeight): void {
  if (bits === 8) return;
  const largest = 2 ** bits - 1, wrong = codes.findIndex((code) => code > largest);
  if (wrong === -1) return;
  throw new RangeError(
    `codes: entry ${position(wrong, cols)} must be at most ${largest}, not ${codes[wrong]}`,
  );
}

function checkScales(rounded: Float32Array, scales: Float32Array, shape: CodedWeight): void {
  const wrong = rounded.findIndex((scale) => !(scale !== 0 && Math.abs(scale) < Infinity));
  if (wrong === -1) return;
  throw new RangeError(
    `scales: entry ${position(wrong, gridsPerRow(shape, shape.cols))} is ${scales[wrong]}, ` +
      `which is 0 or not finite in ${shape.dtype}`,
  );
}

function position(index: number, cols: number): string {
  return `[${Math.floor(index / cols)}, ${index % cols}]`;
}
