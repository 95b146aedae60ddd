/** Layers for the tests of the solve: made on the host, put on a device, and read back from it. */

import type { Backend } from "../../src/backend/backend.ts";
import { readMatrix, TiledMatrix, writeMatrix } from "../../src/backend/tiled_matrix.ts";
import type { Layer, Solution } from "../../src/solvers/solver.ts";
import { correlatedHessian, type HessianOptions } from "../reference/hessian.ts";
import type { ReferenceLayer } from "../reference/sparsegpt.ts";
import { upload } from "./device.ts";
import { normals } from "./random.ts";

/** A layer on the host; `forced`, (rows, cols), is 1 where an entry must be pruned. */
export interface HostLayer extends ReferenceLayer {
  readonly weight: Float32Array<ArrayBuffer>;
  readonly hessian: Float32Array<ArrayBuffer>;
  readonly forced?: Uint8Array;
}

/** Normal weights against correlated statistics. */
export function makeLayer(rows: number, cols: number, options: HessianOptions): HostLayer {
  const weight = normals(rows * cols, options.seed + 2);
  return { rows, cols, weight, hessian: correlatedHessian(cols, options) };
}

/** The statistics on a device. */
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

/** The layer on a device, for a test to free. */
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

/** What a solution holds, on the host: Q, and the mask with a byte an entry, 1 where kept. */
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

function packForced(forced: Uint8Array, rows: number, cols: number): Uint32Array<ArrayBuffer> {
  const words = Math.ceil(cols / 32);
  const bits = new Uint32Array(rows * words);
  forced.forEach((flag, i) => {
    const r = Math.floor(i / cols), c = i % cols;
    bits[r * words + (c >>> 5)] |= flag << (c & 31);
  });
  return bits;
}

function countColumns(forced: Uint8Array, cols: number): Uint32Array {
  const counts = new Uint32Array(cols);
  forced.forEach((flag, i) => counts[i % cols] += flag);
  return counts;
}
