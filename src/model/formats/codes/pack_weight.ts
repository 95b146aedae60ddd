/** Packs the codes, scales and zeros of the solver. */

import { bytesToFloats, floatsToBytes, sameShape } from "../../../tensor/dtype.ts";
import { asFloat32, type HostTensor, type QuantizedWeight } from "../../../tensor/host_tensor.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import { type CodedWeight, packTensors, unstorableReason, type WrittenFormat } from "../format.ts";
import { dequantizeRows } from "./packed_words.ts";

/**
 * Packs a quantised weight, with the scales rounded to the dtype in which the format stores them.
 * @returns the tensors that store it, by name, and the dense weight that they stand for, (rows, cols) in `weight.dtype`
 * @throws {RangeError} if the format cannot store the grid, if the tensors have other dtypes or shapes than the grid
 * needs, or if a code, a zero or a scale is out of range. In the last case the message names the tensor and the entry
 */
export function packWeight(
  format: WrittenFormat,
  weight: Omit<CodedWeight, "rows" | "cols">,
  { codes, scales, zeros }: QuantizedWeight,
): { readonly tensors: ReadonlyMap<string, HostTensor>; readonly dense: HostTensor } {
  const [rows, cols] = codes.shape, coded = { ...weight, rows, cols }, groups = gridsPerRow(weight, cols);
  const { dtype } = weight, { scaleDtype = dtype } = format.writer;
  const reason = unstorableReason(format, coded);
  if (reason !== undefined) throw new RangeError(reason);
  requireTensor("codes", codes, "U8", [rows, cols]);
  requireTensor("scales", scales, "F32", [rows, groups]);
  requireTensor("zeros", zeros, "F32", [rows, groups]);
  const zeroCodes = checkedZeros(asFloat32(zeros.data), coded), given = asFloat32(scales.data);
  checkCodes(codes.data, coded);
  const rounded = bytesToFloats(floatsToBytes(given, scaleDtype), scaleDtype);
  const wrong = rounded.findIndex((scale) => !(scale !== 0 && Math.abs(scale) < Infinity));
  if (wrong !== -1) {
    throw new RangeError(
      `scales: entry ${position(wrong, groups)} is ${
        given[wrong]
      }, which is 0 or not finite in ${scaleDtype}`,
    );
  }
  const stored = { codes: codes.data, scales: rounded, zeros: zeroCodes };
  const values = dequantizeRows(stored.codes, stored, coded);
  return {
    tensors: packTensors(format.writer, coded, stored),
    dense: { dtype, shape: [rows, cols], data: floatsToBytes(values, dtype) },
  };
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

function position(index: number, cols: number): string {
  return `[${Math.floor(index / cols)}, ${index % cols}]`;
}
