/**
 * Converts a quantised weight from the codes, scales and zeros of the solver to the tensors of the layout
 * `pack-quantized` (`layout.ts`), and computes the dense weight that these tensors stand for.
 *
 * The layout stores the scales in the dtype of the weight, because programs that load the checkpoint convert the scales
 * to this dtype. The solver returns scales in F32. Rounding a scale multiplies all weights of its row or group by the
 * same factor. This factor lies within 1 ± 2^−11 for F16 and within 1 ± 2^−8 for BF16. The dense weight must therefore
 * be computed from the rounded scales. `pare prune` uses this dense weight to calibrate the later layers, so they see
 * the model that is written.
 */

import { bytesToFloats, type FloatDtype, floatsToBytes, sameShape } from "../../../tensor/dtype.ts";
import { asFloat32, type HostTensor, type QuantizedWeight } from "../../../tensor/host_tensor.ts";
import { type GridOptions, gridsPerRow } from "../../../tensor/quantization.ts";
import { dequantizeRows, packColumns, packRows } from "./packed_words.ts";
import {
  quantizedNames,
  type QuantizedPart,
  type QuantizedShape,
  unstorableReason,
  wordCount,
} from "./packed_layout.ts";

/** The tensors of one weight in the layout. The zero point is absent if the grid is symmetric. */
export type QuantizedTensors =
  & Readonly<Record<Exclude<QuantizedPart, "zeroPoint">, HostTensor>>
  & { readonly zeroPoint?: HostTensor };

export interface PackedWeight {
  readonly shape: QuantizedShape;
  readonly tensors: QuantizedTensors;
  /** The dense weight that the tensors stand for: (rows, cols), in the dtype of the scales. */
  readonly dense: HostTensor;
}

/**
 * Packs a quantised weight.
 * @param dtype the dtype of the scales, which must be the dtype of the weight in the checkpoint
 * @throws {RangeError} if the layout cannot store the grid, if the tensors have other dtypes or shapes than the grid
 * needs, or if a code, a zero or a scale is out of range. In the last case the message names the tensor and the entry
 */
export function packWeight(
  { codes, scales, zeros }: QuantizedWeight,
  grid: GridOptions,
  dtype: FloatDtype,
): PackedWeight {
  const [rows, cols] = codes.shape;
  requireTensor("codes", codes, "U8", [rows, cols]);
  const reason = unstorableReason({ ...grid, cols });
  if (reason !== undefined) throw new RangeError(reason);
  const shape: QuantizedShape = { ...grid, rows, cols, dtype }, groups = gridsPerRow(shape, shape.cols);
  requireTensor("scales", scales, "F32", [rows, groups]);
  requireTensor("zeros", zeros, "F32", [rows, groups]);
  const zeroCodes = checkedZeros(asFloat32(zeros.data), shape);
  checkCodes(codes.data, shape);
  const scaleBytes = floatsToBytes(asFloat32(scales.data), dtype);
  const roundedScales = bytesToFloats(scaleBytes, dtype);
  checkScales(roundedScales, asFloat32(scales.data), shape);
  const zeroPoint: HostTensor = {
    dtype: "I32",
    shape: [wordCount(rows, grid.bits), groups],
    data: packColumns(zeroCodes, groups, grid.bits),
  };
  const tensors: QuantizedTensors = {
    packed: {
      dtype: "I32",
      shape: [rows, wordCount(cols, grid.bits)],
      data: packRows(codes.data, cols, grid.bits),
    },
    scale: { dtype, shape: [rows, groups], data: scaleBytes },
    ...grid.symmetric ? {} : { zeroPoint },
    shape: {
      dtype: "I64",
      shape: [2],
      data: new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(cols)).buffer),
    },
  };
  const values = dequantizeRows(codes.data, { scales: roundedScales, zeros: zeroCodes }, shape);
  return { shape, tensors, dense: { dtype, shape: [rows, cols], data: floatsToBytes(values, dtype) } };
}

/**
 * Returns the tensors of a weight by their names in a checkpoint.
 * @param stem the name of the weight without `.weight`
 */
export function namedTensors(stem: string, tensors: QuantizedTensors): ReadonlyMap<string, HostTensor> {
  const names = quantizedNames(stem), parts = Object.entries(tensors) as [QuantizedPart, HostTensor][];
  return new Map(parts.map(([part, tensor]) => [names[part], tensor]));
}

function requireTensor(name: string, tensor: HostTensor, dtype: string, shape: readonly number[]): void {
  if (tensor.dtype === dtype && tensor.shape.length === 2 && sameShape(tensor.shape, shape)) return;
  throw new RangeError(`${name}: must be ${dtype} [${shape}], got ${tensor.dtype} [${tensor.shape}]`);
}

/** Checks the zeros of the grids and converts them to integers. */
function checkedZeros(zeros: Float32Array, shape: QuantizedShape): Uint8Array {
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

function checkCodes(codes: Uint8Array, { bits, cols }: QuantizedShape): void {
  if (bits === 8) return;
  const largest = 2 ** bits - 1, wrong = codes.findIndex((code) => code > largest);
  if (wrong === -1) return;
  throw new RangeError(
    `codes: entry ${position(wrong, cols)} must be at most ${largest}, not ${codes[wrong]}`,
  );
}

function checkScales(rounded: Float32Array, scales: Float32Array, shape: QuantizedShape): void {
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
