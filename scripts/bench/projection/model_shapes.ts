/**
 * The sizes of the linear layers that the projection counts: those of the two largest open models that the
 * SparseGPT paper prunes. Embeddings and norms are not listed, because they are not pruned.
 */

import { sum } from "../measure/statistics.ts";

/** Linear layers that share one input. They share its Hessian and the factor of that Hessian. */
export interface SharedInput {
  /** The number of inputs of each layer (in_features). */
  readonly cols: number;
  /** The number of outputs of each layer (out_features). */
  readonly rows: readonly number[];
}

/** The sizes of a model, which is a stack of equal transformer blocks. */
export interface ModelShapes {
  readonly title: string;
  readonly blocks: number;
  /** The layers of one block. */
  readonly inputs: readonly SharedInput[];
}

/** The models by the names that `--project` accepts. */
export const MODELS: Readonly<Record<string, ModelShapes>> = {
  "opt-175b": {
    title: "OPT-175B",
    blocks: 96,
    inputs: [
      { cols: 12288, rows: [12288, 12288, 12288] }, // q, k, v
      { cols: 12288, rows: [12288] }, // out
      { cols: 12288, rows: [49152] }, // fc1
      { cols: 49152, rows: [12288] }, // fc2
    ],
  },
  "bloom-176b": {
    title: "BLOOM-176B",
    blocks: 70,
    inputs: [
      { cols: 14336, rows: [43008] }, // query_key_value
      { cols: 14336, rows: [14336] }, // dense
      { cols: 14336, rows: [57344] }, // dense_h_to_4h
      { cols: 57344, rows: [14336] }, // dense_4h_to_h
    ],
  },
};

/** The number of weights in the linear layers of a model. */
export function weightCount({ blocks, inputs }: Pick<ModelShapes, "blocks" | "inputs">): number {
  return blocks * sum(inputs.map(({ cols, rows }) => cols * sum(rows)));
}
