/** Factors and solves one square layer: once to time the whole, and once to time each kernel. */

import type { Backend } from "../../src/device/backend.ts";
import { TiledMatrix, tileEdgeFor, tileEdgeOn } from "../../src/device/tiled_matrix.ts";
import { KERNELS } from "../../src/device/kernels/kernels.ts";
import { factor } from "../../src/layer/linalg/factor.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING } from "../../src/protocol/limits.ts";
import { solveSparseGpt } from "../../src/layer/solvers/sparsegpt.ts";
import { createWebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { normals } from "../../tests/support/random.ts";
import { TimedBackend } from "./timed_backend.ts";
import { factorFlops, solveFlops } from "../bench/measure/flops.ts";
import { hessianRow } from "../bench/measure/layer_file.ts";

export interface LayerTimes {
  readonly order: number;
  readonly dispatches: number;
  readonly factorSeconds: number;
  readonly solveSeconds: number;
  /** The flops of both phases by formula, per second. */
  readonly flopsPerSecond: number;
  readonly bytesPeak: number;
  /** Whether the seconds of kernels are by the clock of the device. Otherwise they include waits for it. */
  readonly byDeviceClock: boolean;
  /** The seconds of each kernel, and of the calls that are no kernels. */
  readonly kernelSeconds: Readonly<Record<string, number>>;
}

/** Times a layer with `order` rows and columns, pruned to 50 %. */
export async function timeLayer(order: number): Promise<LayerTimes> {
  const backend = await createWebGpuBackend({ warm: KERNELS });
  try {
    await solve(backend, Math.min(order, 256)); // the first use of a kernel is slower
    const whole = await solve(backend, order);
    const byDeviceClock = backend.device.features.has("timestamp-query");
    const clock = byDeviceClock ? (run: () => void) => backend.timePass(run) : undefined;
    const timed = new TimedBackend(backend, (kernel) => kernel, clock);
    await solve(timed, order, () => timed.takeSeconds());
    return {
      order,
      ...whole,
      flopsPerSecond: (factorFlops(order) + solveFlops(order, order)) /
        (whole.factorSeconds + whole.solveSeconds),
      bytesPeak: backend.counters.bytesPeak,
      byDeviceClock,
      kernelSeconds: Object.fromEntries([...timed.takeSeconds()].sort(([, a], [, b]) => b - a)),
    };
  } finally {
    await backend.dispose();
  }
}

/** Solves a layer. `uploaded` is called when its operands are on the device. */
async function solve(backend: Backend, order: number, uploaded: () => void = () => {}) {
  const edge = tileEdgeFor(DEFAULT_BLOCKSIZE, tileEdgeOn(backend));
  const weight = new TiledMatrix(backend, { label: "weight", rows: order, cols: order, edge });
  const hessian = new TiledMatrix(backend, {
    label: "hessian",
    rows: order,
    cols: order,
    edge,
    storage: "upper",
  });
  await upload(backend, weight, (row) => normals(order, row + 1));
  await upload(backend, hessian, (row) => hessianRow(row, order));
  uploaded();
  const { dispatches } = backend.counters, started = performance.now();
  const factored = await factor(backend, hessian, { damping: DEFAULT_DAMPING, blocksize: DEFAULT_BLOCKSIZE });
  const middle = performance.now();
  const solution = await solveSparseGpt(backend, { weight }, factored, {
    sparsity: 0.5,
    pattern: { kind: "unstructured" },
    relativeError: false,
  });
  const ended = performance.now();
  for (const resource of [solution, factored, weight]) resource.destroy();
  return {
    dispatches: backend.counters.dispatches - dispatches,
    factorSeconds: (middle - started) / 1000,
    solveSeconds: (ended - middle) / 1000,
  };
}

async function upload(
  backend: Backend,
  matrix: TiledMatrix,
  rowOf: (row: number) => Float32Array<ArrayBuffer>,
): Promise<void> {
  for (const tile of matrix.tiles()) {
    for (let row = 0; row < tile.rows; row++) {
      const values = rowOf(tile.row0 + row).slice(tile.col0, tile.col0 + tile.cols);
      backend.write(tile.buffer, 4 * row * tile.ld, new Uint8Array(values.buffer));
    }
  }
  await backend.finish();
}
