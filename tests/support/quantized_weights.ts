/** Makes quantised weights for tests, in the form that the client decodes from the answer of `POST /v1/layers`. */

import type { HostTensor, QuantizedWeight } from "../../src/tensor/host_tensor.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { codeOf, gridOf, startOfSearch } from "../reference/quantization.ts";
import { normals, uniform } from "../../scripts/fixtures/random.ts";

/**
 * Rounds `weights` (rows, cols) to a grid. The entries that `isPruned` selects get the code of the value 0.
 *
 * @param isPruned receives the index of an entry
 */
export function quantize(
  weights: ArrayLike<number>,
  [rows, cols]: readonly [number, number],
  { bits, groupSize, symmetric }: GridOptions,
  isPruned: (index: number) => boolean,
): QuantizedWeight {
  const size = groupSize || cols, groups = Math.ceil(cols / size);
  const codes = new Uint8Array(rows * cols);
  const scales = new Float32Array(rows * groups), zeros = new Float32Array(rows * groups);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const first = row * cols + group * size, end = row * cols + Math.min(cols, (group + 1) * size);
      const members = Array.from({ length: end - first }, (_, i) => weights[first + i]);
      // Half of the scales of symmetric grids are negative, like those of searched grids.
      const grid = symmetric ? startOfSearch(members, { bits, symmetric }) : gridOf(members, bits, symmetric);
      for (let i = first; i < end; i++) codes[i] = isPruned(i) ? grid.zero : codeOf(weights[i], grid, bits);
      scales[row * groups + group] = grid.scale;
      zeros[row * groups + group] = grid.zero;
    }
  }
  return {
    codes: { dtype: "U8", shape: [rows, cols], data: codes },
    scales: floatTensor(scales, [rows, groups]),
    zeros: floatTensor(zeros, [rows, groups]),
  };
}

/** Makes a random quantised weight in which about half of the entries are pruned. */
export function randomQuantized(
  shape: readonly [number, number],
  grid: GridOptions,
  seed = 1,
): QuantizedWeight {
  const next = uniform(seed);
  const pruned = Array.from({ length: shape[0] * shape[1] }, () => next() < 0.5);
  return quantize(normals(shape[0] * shape[1], seed + 1), shape, grid, (index) => pruned[index]);
}

function floatTensor(values: Float32Array<ArrayBuffer>, shape: readonly number[]): HostTensor {
  return { dtype: "F32", shape, data: new Uint8Array(values.buffer) };
}
