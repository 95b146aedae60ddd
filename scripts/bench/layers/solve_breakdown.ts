/**
 * Measures how the time of a SparseGPT solve divides among its steps. The measurement is a separate solve on
 * a backend that waits for the device after every step. The waits make that solve slower than a normal one,
 * so only the shares of the steps are returned, and not their seconds.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { TiledMatrix, writeMatrix } from "../../../src/backend/tiled_matrix.ts";
import { factor } from "../../../src/linalg/factor.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING } from "../../../src/protocol/limits.ts";
import { solveSparseGpt } from "../../../src/solvers/sparsegpt.ts";
import { decode } from "../../../src/safetensors/decode.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { sum } from "../measure/statistics.ts";
import { TimedBackend } from "./timed_backend.ts";

/**
 * A step of the solve, which follows the factorisation. The solve works on blocks of columns. `select`
 * chooses the entries of a block to prune, `columnLoop` prunes the block column by column, and `lazyUpdate`
 * applies the errors of earlier blocks to the next block. `other` is everything else.
 */
export type SolveStep = "select" | "columnLoop" | "lazyUpdate" | "other";

/** The share of each step in the time of the solve. The shares add up to 1. */
export type StepShares = Readonly<Record<SolveStep, number>>;

/** The step that each kernel belongs to. The factorisation runs some of the same kernels, but it is not measured. */
const STEP_OF_KERNEL: Readonly<Record<string, SolveStep>> = {
  score_keys: "select",
  key_histogram: "select",
  select_digit: "select",
  count_ties: "select",
  rank_ties: "select",
  update_block: "lazyUpdate", // and the first step of the selection
  refine_histogram: "select",
  finish_selection: "select",
  prune_block: "columnLoop",
  prune_block_n_m: "columnLoop",
  gemm_nn: "lazyUpdate",
  copy2d: "lazyUpdate", // copies a block of the weights, to which the product is then added
};

/**
 * Prunes half of the weights of the layer in a request body (`weight` and `hessian`, both F32) on `backend`,
 * and returns the shares of the steps.
 */
export async function breakDownSolve(
  backend: Backend,
  body: Uint8Array<ArrayBuffer>,
): Promise<StepShares> {
  const timed = new TimedBackend(backend, (kernel) => STEP_OF_KERNEL[kernel] ?? "other");
  const { tensors } = decode(body);
  const weight = upload(timed, "weight", tensors.get("weight")!, "full");
  const factored = await factor(timed, upload(timed, "hessian", tensors.get("hessian")!, "upper"), {
    damping: DEFAULT_DAMPING,
    blocksize: DEFAULT_BLOCKSIZE,
  });
  timed.takeSeconds(); // discards the seconds of the factorisation
  const solution = await solveSparseGpt(timed, { weight }, factored, {
    sparsity: 0.5,
    pattern: { kind: "unstructured" },
    relativeError: false,
  });
  const shares = sharesOf(timed.takeSeconds());
  for (const resource of [solution, factored, weight]) resource.destroy();
  await timed.finish();
  return shares;
}

/**
 * Converts the seconds of each group of calls into shares of their sum. The time of a group that is not a
 * step, such as the transfers, counts as `other`.
 */
export function sharesOf(seconds: ReadonlyMap<string, number>): StepShares {
  const total = sum([...seconds.values()]);
  const share = (step: SolveStep) => (seconds.get(step) ?? 0) / total;
  const [select, columnLoop, lazyUpdate] = [share("select"), share("columnLoop"), share("lazyUpdate")];
  return { select, columnLoop, lazyUpdate, other: 1 - select - columnLoop - lazyUpdate };
}

function upload(
  backend: Backend,
  label: string,
  { shape: [rows, cols], data }: HostTensor,
  storage: "full" | "upper",
): TiledMatrix {
  const matrix = new TiledMatrix(backend, { label, rows, cols, storage });
  writeMatrix(backend, matrix, new Float32Array(data.slice().buffer));
  return matrix;
}
