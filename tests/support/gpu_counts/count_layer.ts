/**
 * Counts the work that one layer gives to a GPU with given limits: the factorisation of its statistics, and
 * its solve by SparseGPT at 50 %, without the relative error. Nothing is computed (`recording_backend.ts`).
 */

import { TiledMatrix, tileEdgeFor, tileEdgeOn } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING } from "../../../src/protocol/limits.ts";
import { solveSparseGpt } from "../../../src/layer/solvers/sparsegpt.ts";
import { type GpuLimits, type RecordedDispatch, RecordingBackend } from "./recording_backend.ts";

/** The work of one phase. */
export interface PhaseCounts {
  readonly dispatches: number;
  /** The dispatches of each kernel. */
  readonly kernels: Readonly<Record<string, number>>;
  readonly productTeraflops: number;
  /**
   * The share of the product flops that run in dispatches with at least two workgroups per processor. Such
   * products keep every processor of the GPU busy.
   */
  readonly filledShare: number;
  /** The bytes of device memory that move if each operand of each dispatch moves once. */
  readonly memoryBytes: number;
  /** The part of `memoryBytes` that products move. */
  readonly productBytes: number;
  /** The columns that are factored one after another by one workgroup. */
  readonly serialColumns: number;
  /** The bytes that cross the bus between the CPU's memory and the GPU, apart from the layer itself. */
  readonly bytesWritten: number;
  readonly bytesRead: number;
  /** The number of times that the CPU waits for the GPU. */
  readonly waits: number;
}

/** The work of one layer. */
export interface LayerCounts {
  readonly rows: number;
  readonly cols: number;
  /** The number of rows and columns of a tile. */
  readonly edge: number;
  readonly factor: PhaseCounts;
  readonly solve: PhaseCounts;
  readonly total: PhaseCounts;
  /** The largest size of all device buffers together, in bytes. */
  readonly bytesPeak: number;
}

/** Counts the work of a (rows, cols) layer on a GPU with the given limits. */
export async function countLayer(limits: GpuLimits, rows: number, cols: number): Promise<LayerCounts> {
  const backend = new RecordingBackend(limits);
  const blocksize = DEFAULT_BLOCKSIZE, edge = tileEdgeFor(blocksize, tileEdgeOn(backend));
  const hessian = new TiledMatrix(backend, { label: "hessian", rows: cols, cols, edge, storage: "upper" });
  const weight = new TiledMatrix(backend, { label: "weight", rows, cols, edge });
  const start = snapshot(backend);
  const factored = await factor(backend, hessian, { damping: DEFAULT_DAMPING, blocksize });
  const middle = snapshot(backend);
  await solveSparseGpt(backend, { weight }, factored, {
    sparsity: 0.5,
    pattern: { kind: "unstructured" },
    relativeError: false,
  });
  const end = snapshot(backend), enough = 2 * limits.processors;
  return {
    rows,
    cols,
    edge,
    factor: between(backend, start, middle, enough),
    solve: between(backend, middle, end, enough),
    total: between(backend, start, end, enough),
    bytesPeak: backend.counters.bytesPeak,
  };
}

type Snapshot = ReturnType<typeof snapshot>;

function snapshot({ dispatches, counters, waits }: RecordingBackend) {
  const { bytesWritten, bytesRead } = counters;
  return { dispatches: dispatches.length, bytesWritten, bytesRead, waits };
}

function between(backend: RecordingBackend, from: Snapshot, to: Snapshot, enough: number): PhaseCounts {
  const dispatches = backend.dispatches.slice(from.dispatches, to.dispatches);
  const flops = sumFlops(dispatches);
  return {
    dispatches: dispatches.length,
    kernels: countKernels(dispatches),
    productTeraflops: flops / 1e12,
    filledShare: sumFlops(dispatches.filter(({ workgroups }) => workgroups >= enough)) / flops,
    memoryBytes: dispatches.reduce((sum, dispatch) => sum + dispatch.memoryBytes, 0),
    productBytes: dispatches.reduce((sum, dispatch) => sum + dispatch.productBytes, 0),
    serialColumns: dispatches.reduce((sum, dispatch) => sum + dispatch.serialColumns, 0),
    bytesWritten: to.bytesWritten - from.bytesWritten,
    bytesRead: to.bytesRead - from.bytesRead,
    waits: to.waits - from.waits,
  };
}

function sumFlops(dispatches: readonly RecordedDispatch[]): number {
  return dispatches.reduce((sum, { productFlops }) => sum + productFlops, 0);
}

function countKernels(dispatches: readonly RecordedDispatch[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kernel } of dispatches) counts[kernel] = (counts[kernel] ?? 0) + 1;
  return counts;
}
