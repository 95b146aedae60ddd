/** Checks the codes and the grids of a rounded weight, from which a quantised checkpoint is written. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { bytesToFloats, type FloatDtype, floatsToBytes } from "../../tensor/dtype.ts";
import type { PrunedLayer } from "../layer_file.ts";
import { malformedLayer, requireForm } from "./parse_answer.ts";

/** The largest rounding error of a weight of each dtype, as a share of the range of its grid, if 0 is not a value of the grid. */
const ROUNDING = { F32: 2 ** -22, F16: 2 ** -10, BF16: 2 ** -7 } as const satisfies Record<
  FloatDtype,
  number
>;

/**
 * Checks that the codes and the grids give the weight of the answer. The weight itself must have been checked before.
 * @throws {MalformedAnswerError} naming the first difference
 */
export function checkQuantized(
  { weight, quantized }: Pick<PrunedLayer, "weight" | "quantized">,
  query: LayerQuery,
): void {
  const { bits, group_size = 0 } = query;
  if (!quantized && bits === undefined) return;
  if (!quantized) throw malformedLayer("it has no codes, but the query asks for rounded weights");
  if (bits === undefined) throw malformedLayer("it has codes, but the query asks for no rounding");
  const { codes } = quantized;
  const [rows, cols] = weight.shape, groupSize = group_size || cols, groups = Math.ceil(cols / groupSize);
  requireForm("codes", codes, "U8", [rows, cols]);
  const scales = readGrid("scales", quantized.scales, [rows, groups]);
  const zeros = readGrid("zeros", quantized.zeros, [rows, groups]);
  if ((query.scale_bits === undefined || query.symmetric) && !zeros.every(Number.isInteger)) {
    throw malformedLayer("a zero is not an integer, although 0 is a value of every grid");
  }
  const dtype = weight.dtype as FloatDtype, rowBytes = weight.data.byteLength / rows;
  const row = new Float32Array(cols), largest = 2 ** bits - 1;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const code = codes.data[r * cols + c], grid = r * groups + Math.floor(c / groupSize);
      if (code > largest) {
        throw malformedLayer(`the code [${r},${c}] is ${code}, which has more than ${bits} bits`);
      }
      row[c] = (code - zeros[grid]) * scales[grid];
    }
    const expected = bytesToFloats(floatsToBytes(row, dtype), dtype);
    const actual = bytesToFloats(weight.data.subarray(r * rowBytes, (r + 1) * rowBytes), dtype);
    const c = actual.findIndex((value, i) => {
      const grid = r * groups + Math.floor(i / groupSize);
      const error = Number.isInteger(zeros[grid]) ? 0 : ROUNDING[dtype] * 2 ** bits * Math.abs(scales[grid]);
      return !(Math.abs(value - expected[i]) <= error);
    });
    if (c >= 0) throw malformedLayer(`weight [${r},${c}] is ${actual[c]}, but its code says ${expected[c]}`);
  }
}

/** Reads a tensor with one finite number per grid. */
function readGrid(name: string, tensor: HostTensor, shape: readonly number[]): Float32Array {
  requireForm(name, tensor, "F32", shape);
  const values = bytesToFloats(tensor.data, "F32");
  if (!values.every(Number.isFinite)) throw malformedLayer(`the tensor ${name} is not finite`);
  return values;
}
