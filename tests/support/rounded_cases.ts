/** Prunes and rounds in one pass on a backend, and compares the result with the published algorithm in float64. */

import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { tileEdgeFor } from "../../src/device/tiled_matrix.ts";
import { factor } from "../../src/layer/linalg/factor.ts";
import type { QuantizationOptions } from "../../src/tensor/quantization.ts";
import type { Solution, SparseGptOptions } from "../../src/layer/solvers/solver.ts";
import { solveSparseGpt } from "../../src/layer/solvers/sparsegpt.ts";
import type { Pattern } from "../../src/tensor/pattern.ts";
import { type GptqOptions, referenceActivationOrder, referenceGptq } from "../reference/gptq.ts";
import { referenceFactor } from "../reference/sparsegpt.ts";
import { assertSame } from "./assert_same.ts";
import { upload } from "./device.ts";
import { type HostLayer, packForced, uploadHessian, uploadLayer } from "./layers.ts";
import { assertRounded, readRounded } from "./rounded_solutions.ts";

export const DAMPING = 0.01;
export const UNSTRUCTURED: Pattern = { kind: "unstructured" };
export const TWO_OF_FOUR: Pattern = { kind: "n:m", keep: 2, group: 4 };
/** Asymmetric grids, one per row. */
export const WHOLE_ROWS = { groupSize: 0, symmetric: false };

/** A solve. If `edge` is given, the tiles are so small that there are several. `fixedMask` (rows, cols) is 1 where an entry is kept. */
export interface RoundedCase {
  readonly host: HostLayer;
  readonly blocksize: number;
  readonly edge?: number;
  readonly sparsity?: number;
  readonly pattern?: Pattern;
  readonly quantization: Omit<QuantizationOptions, "order">;
  /** The default is `natural`. */
  readonly order?: QuantizationOptions["order"];
  readonly fixedMask?: Uint8Array;
}

/** Solves, passes the solution to `use`, frees everything, and asserts that nothing stays allocated. */
export async function solveRounded(
  backend: Backend,
  { host, blocksize, edge = tileEdgeFor(blocksize), sparsity = 0.5, pattern = UNSTRUCTURED, ...rest }:
    RoundedCase,
  use: (solution: Solution, damping: number) => Promise<void>,
): Promise<void> {
  const { rows, cols } = host, order = rest.order ?? "natural", live = backend.counters.bytesLive;
  const factored = await factor(backend, uploadHessian(backend, host.hessian, cols, edge), {
    damping: DAMPING,
    blocksize,
    order,
  });
  const layer = uploadLayer(backend, host, edge);
  const fixedMask = rest.fixedMask && upload(backend, packForced(rest.fixedMask, rows, cols));
  const options: SparseGptOptions = {
    sparsity,
    pattern,
    relativeError: true,
    quantization: { ...rest.quantization, order },
    fixedMask,
  };
  const solution = await solveSparseGpt(backend, layer, factored, options);
  await use(solution, factored.damping);
  for (const resource of [solution, layer, factored]) resource.destroy();
  fixedMask?.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
}

/** Solves, and asserts that the solution agrees with the reference. @throws {AssertionError} */
export async function checkRounded(backend: Backend, solved: RoundedCase): Promise<void> {
  const { host, blocksize, sparsity = 0.5, pattern = UNSTRUCTURED, quantization, fixedMask } = solved;
  const groups = pattern.kind === "n:m" ? pattern : undefined;
  // The entries of an n:m group are chosen after the grid is computed, so a search knows only the forced ones.
  const searchedEntries = groups && !fixedMask
    ? Uint8Array.from({ length: host.rows * host.cols }, (_, i) => host.forced?.[i] ? 0 : 1)
    : undefined;
  const options: GptqOptions = { ...quantization, sparsity, groups, blocksize, fixedMask, searchedEntries };
  await solveRounded(backend, solved, async (solution, damping) => {
    const natural = solved.order === "activation"
      ? undefined
      : referenceFactor(host.hessian, host.cols, damping);
    const rounded = await readRounded(backend, solution, quantization);
    assertRounded(
      solution,
      rounded,
      (more) =>
        natural
          ? referenceGptq(host, natural, { ...options, ...more })
          : referenceActivationOrder(host, damping, { ...options, ...more }),
    );
    if (fixedMask) assertSame(rounded.mask, fixedMask);
  });
}
