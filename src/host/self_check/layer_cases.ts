/**
 * The small layers that the self-check solves as a whole, with the code that solves the layers of requests. They check
 * that the kernels, which were checked one by one, also work together, at both common block sizes.
 */

import type { Backend } from "../../device/backend.ts";
import { type CaseOutput, signed, type Values } from "../../device/kernels/kernel_case.ts";
import { ResourceSet } from "../../device/owned.ts";
import { readMatrix, TiledMatrix, tileEdgeFor, writeMatrix } from "../../device/tiled_matrix.ts";
import { compressLayer } from "../../layer/compress_layer.ts";
import type { DampedParameters } from "../../layer/methods.ts";

/** One layer with fixed weights, statistics and parameters. */
export interface LayerCase {
  /** A name for messages, and the key of the committed numbers. Unique. */
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly parameters: DampedParameters;
  /** Returns W, (rows, cols), and H, (cols, cols) and symmetric. */
  readonly operands: () => {
    readonly weight: Float32Array<ArrayBuffer>;
    readonly hessian: Float32Array<ArrayBuffer>;
  };
  readonly outputs: Readonly<Record<"weight" | "mask" | "loss" | "relative_error" | "damping", CaseOutput>>;
}

/**
 * The roundings of a solve. An error in the statistics grows by their condition number, which the damping bounds by
 * about 100, and each weight depends on the sums of hundreds of products.
 */
const SOLVE_ROUNDINGS = 8192;

const OUTPUTS: LayerCase["outputs"] = {
  weight: { binding: "weight", roundings: SOLVE_ROUNDINGS },
  mask: { binding: "mask" },
  loss: { binding: "loss", roundings: SOLVE_ROUNDINGS },
  relative_error: { binding: "relative_error", roundings: SOLVE_ROUNDINGS },
  damping: { binding: "damping" },
};

/**
 * Returns W, and H = XᵀX/tokens − shift·I with random X. With fewer tokens than columns XᵀX is singular, so a positive
 * shift makes H indefinite.
 */
function operands(rows: number, cols: number, tokens: number, shift: number, seed: number) {
  const x = signed(tokens * cols, seed), sums = new Float64Array(cols * cols);
  for (let t = 0; t < tokens; t++) {
    const token = x.subarray(t * cols, (t + 1) * cols);
    for (let i = 0; i < cols; i++) {
      const value = token[i], row = sums.subarray(i * cols, (i + 1) * cols);
      for (let j = i; j < cols; j++) row[j] += value * token[j];
    }
  }
  const hessian = symmetric(cols, (at, isDiagonal) => sums[at] / tokens - (isDiagonal ? shift : 0));
  return { weight: signed(rows * cols, seed + 1), hessian };
}

/** Returns W, and a random symmetric H whose diagonal is large enough for H to be positive definite. */
function dominantOperands(rows: number, cols: number, seed: number) {
  const entries = signed(cols * cols, seed);
  const hessian = symmetric(cols, (at, isDiagonal) => isDiagonal ? 1 + entries[at] / 4 : entries[at] / 32);
  return { weight: signed(rows * cols, seed + 1), hessian };
}

/** Returns a symmetric matrix. `entry` computes an entry of its upper triangle from the entry's row-major index. */
function symmetric(
  order: number,
  entry: (at: number, isDiagonal: boolean) => number,
): Float32Array<ArrayBuffer> {
  const matrix = new Float32Array(order * order);
  for (let i = 0; i < order; i++) {
    for (let j = i; j < order; j++) {
      matrix[i * order + j] = matrix[j * order + i] = entry(i * order + j, i === j);
    }
  }
  return matrix;
}

const PARAMETERS = {
  relativeError: true,
  damping: 0.01,
  sparsity: 0.5,
  pattern: { kind: "unstructured" },
} as const;

export const LAYER_CASES: readonly LayerCase[] = [
  {
    name: "a layer of sparsegpt with blocks of 128, whose statistics are not positive definite",
    rows: 8,
    cols: 256,
    parameters: { ...PARAMETERS, method: "sparsegpt", blocksize: 128 },
    // The mean diagonal entry is 1/3. A damping of 0.01 adds less than the shift, and 0.1 adds more.
    operands: () => operands(8, 256, 128, 1 / 64, 601),
    outputs: OUTPUTS,
  },
  {
    name: "a layer of sparsegpt at 2:4 with 4 bits and blocks of 256",
    rows: 4,
    cols: 320,
    parameters: {
      ...PARAMETERS,
      method: "sparsegpt",
      blocksize: 256,
      pattern: { kind: "n:m", keep: 2, group: 4 },
      quantization: { bits: 4, groupSize: 64, symmetric: false, order: "natural" },
    },
    operands: () => dominantOperands(4, 320, 603),
    outputs: OUTPUTS,
  },
  {
    name: "a layer of obc at 2:4",
    rows: 6,
    cols: 48,
    parameters: { ...PARAMETERS, method: "obc", blocksize: 128, pattern: { kind: "n:m", keep: 2, group: 4 } },
    operands: () => operands(6, 48, 96, 0, 605),
    outputs: OUTPUTS,
  },
  {
    name: "a layer of wanda",
    rows: 9,
    cols: 131,
    parameters: { ...PARAMETERS, method: "wanda", blocksize: 128 },
    operands: () => dominantOperands(9, 131, 607),
    outputs: OUTPUTS,
  },
];

/** Solves a layer. Returns its results by the bindings of its outputs. @throws the errors of `compressLayer` */
export async function solveCase(
  backend: Backend,
  { rows, cols, parameters, operands }: LayerCase,
): Promise<Record<string, Values>> {
  using owned = new ResourceSet();
  const { weight, hessian } = operands(), edge = tileEdgeFor(parameters.blocksize);
  const w = owned.add(new TiledMatrix(backend, { label: "self-check: weight", rows, cols, edge }));
  const statistics = { label: "self-check: statistics", rows: cols, cols, edge, storage: "upper" } as const;
  const h = owned.add(new TiledMatrix(backend, statistics));
  writeMatrix(backend, w, weight);
  writeMatrix(backend, h, hessian);
  const solved = await compressLayer(backend, { layer: { weight: w }, hessian: h }, parameters, () => 0);
  const { mask, q } = owned.add(solved.solution);
  if (solved.factor) owned.add(solved.factor);
  const { loss, relative_error, damping } = solved.report;
  return {
    weight: await readMatrix(backend, q),
    mask: new Uint32Array((await backend.read(mask, 0, mask.byteLength)).buffer),
    loss: Float32Array.of(loss ?? NaN),
    relative_error: Float32Array.of(relative_error ?? NaN),
    damping: Float32Array.of(damping ?? 0),
  };
}
