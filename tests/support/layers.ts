/** Layers for the tests of the solvers: functions that create them, copy them to a device, and read solutions back. */

import type { Backend } from "../../src/device/backend.ts";
import { readMatrix, TiledMatrix, writeMatrix } from "../../src/device/tiled_matrix.ts";
import type { Layer, Solution } from "../../src/layer/solvers/solver.ts";
import { correlatedHessian, type HessianOptions } from "../reference/hessian.ts";
import type { ReferenceLayer } from "../reference/sparsegpt.ts";
import { upload } from "./device.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** A layer in host memory, in f32. */
export interface HostLayer extends ReferenceLayer {
  readonly weight: Float32Array<ArrayBuffer>;
  readonly hessian: Float32Array<ArrayBuffer>;
  readonly forced?: Uint8Array;
}

/** Creates a layer with normally distributed weights and correlated calibration statistics (the Hessian). */
export function makeLayer(rows: number, cols: number, options: HessianOptions): HostLayer {
  const weight = normals(rows * cols, options.seed + 2);
  return { rows, cols, weight, hessian: correlatedHessian(cols, options) };
}

/**
 * Copies the statistics H (order, order) to a device as a matrix in square tiles of `edge` × `edge` elements.
 * Only the tiles on and above the diagonal are stored. The caller must destroy the matrix.
 */
export function uploadHessian(
  backend: Backend,
  hessian: Float32Array,
  order: number,
  edge?: number,
): TiledMatrix {
  const matrix = new TiledMatrix(backend, {
    label: "hessian",
    rows: order,
    cols: order,
    edge,
    storage: "upper",
  });
  writeMatrix(backend, matrix, hessian);
  return matrix;
}

/**
 * Copies the weights and the forced entries (those that must be pruned) of a layer to a device. The weights
 * are stored in square tiles of `edge` × `edge` elements. The test must destroy the result.
 */
export function uploadLayer(
  backend: Backend,
  { rows, cols, weight, forced }: HostLayer,
  edge?: number,
): Layer & { destroy(): void } {
  const matrix = new TiledMatrix(backend, { label: "weight", rows, cols, edge });
  writeMatrix(backend, matrix, weight);
  const bits = forced && upload(backend, packForced(forced, rows, cols), "forced");
  return {
    weight: matrix,
    forced: forced && bits && { bits, perColumn: countColumns(forced, cols) },
    destroy() {
      matrix.destroy();
      bits?.destroy();
    },
  };
}

/**
 * Reads a solution back from the device.
 *
 * @returns the weights q (rows, cols); the mask (rows, cols) with one byte per entry, which is 0 where the
 *   entry is pruned; and the number of ones in the padding bits of the mask, which should be 0
 */
export async function readSolution(
  backend: Backend,
  solution: Solution,
): Promise<{ q: Float32Array; mask: Uint8Array; paddingBits: number }> {
  const { rows, cols } = solution.q, words = Math.ceil(cols / 32);
  const bits = new Uint32Array((await backend.read(solution.mask, 0, 4 * rows * words)).buffer);
  const mask = new Uint8Array(rows * cols);
  let paddingBits = 0;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < 32 * words; c++) {
      const bit = (bits[r * words + (c >>> 5)] >>> (c & 31)) & 1;
      if (c < cols) mask[r * cols + c] = bit;
      else paddingBits += bit;
    }
  }
  return { q: await readMatrix(backend, solution.q), mask, paddingBits };
}

/** Packs flags of entries, one byte each, into the bit layout of masks: ⌈cols/32⌉ words per row. */
export function packForced(forced: Uint8Array, rows: number, cols: number): Uint32Array<ArrayBuffer> {
  const words = Math.ceil(cols / 32);
  const bits = new Uint32Array(rows * words);
  forced.forEach((flag, i) => {
    const r = Math.floor(i / cols), c = i % cols;
    bits[r * words + (c >>> 5)] |= flag << (c & 31);
  });
  return bits;
}

/** The number of forced entries in each column. */
function countColumns(forced: Uint8Array, cols: number): Uint32Array {
  const counts = new Uint32Array(cols);
  forced.forEach((flag, i) => counts[i % cols] += flag);
  return counts;
}
