/** How the time of a solve divides among its steps, measured apart from the timed runs by a backend that waits after every step. */

import type { Backend } from "../../src/backend/backend.ts";
import { TiledMatrix, writeMatrix } from "../../src/backend/tiled_matrix.ts";
import { factor } from "../../src/linalg/factor.ts";
import { solveSparseGpt } from "../../src/solvers/sparsegpt.ts";
import { decode } from "../../src/safetensors/decode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { TimedBackend } from "./timed_backend.ts";

/** The steps of algorithm 1 after the factorisation. */
export type Step = "select" | "columnLoop" | "lazyUpdate" | "other";

/** Fractions of the solve; they add up to 1. */
export type Shares = Readonly<Record<Step, number>>;

/** In the solve. The factorisation uses some of the same kernels, and is not counted. */
const STEP_OF_KERNEL: Readonly<Record<string, Step>> = {
  score_keys: "select",
  key_histogram: "select",
  select_digit: "select",
  count_ties: "select",
  rank_ties: "select",
  prune_block: "columnLoop",
  prune_block_n_m: "columnLoop",
  gemm_nn: "lazyUpdate",
  copy2d: "lazyUpdate", // the block it updates is copied from W first
};

/** Solves the layer of a request body (F32 `weight` and `hessian`) on `backend` to 50 %, and tells the shares of the solve's steps. */
export async function breakDown(backend: Backend, body: Uint8Array<ArrayBuffer>): Promise<Shares> {
  const timed = new TimedBackend(backend, (kernel) => STEP_OF_KERNEL[kernel] ?? "other");
  const { tensors } = decode(body);
  const weight = upload(timed, "weight", tensors.get("weight")!, "full");
  const factored = await factor(timed, upload(timed, "hessian", tensors.get("hessian")!, "upper"), {
    damping: 0.01,
    blocksize: 128,
  });
  timed.takeSeconds();
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

/** Seconds by step as fractions of their sum; what is charged to no step is `other`. */
export function sharesOf(seconds: ReadonlyMap<string, number>): Shares {
  const total = [...seconds.values()].reduce((sum, value) => sum + value, 0);
  const share = (step: Step) => (seconds.get(step) ?? 0) / total;
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
