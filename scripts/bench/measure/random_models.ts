/**
 * Models with the sizes of public models and random weights, for benches that measure time and memory. They are stored
 * in bfloat16, as most public models are.
 */

import { LLAMA_160M, makeRandomLlama, NARROW } from "../../fixtures/make_random_llama.ts";
import { makeRandomOpt, OPT_125M } from "../../fixtures/make_random_opt.ts";
import type { RandomWeights } from "../../fixtures/random_checkpoint.ts";

/** A model that is written when a bench needs it. */
export interface RandomModel {
  readonly name: string;
  /** The number of transformer blocks of the whole model. */
  readonly blocks: number;
  /** Writes the checkpoint with `blocks` transformer blocks, each of the full size. */
  write(folder: string, blocks: number): Promise<void>;
}

const WEIGHTS: RandomWeights = { dtype: "BF16" };

export const RANDOM_MODELS: Readonly<Record<string, RandomModel>> = {
  "opt-125m": {
    name: "opt-125m",
    blocks: OPT_125M.layers,
    write: (folder, layers) => makeRandomOpt(folder, { ...OPT_125M, layers }, WEIGHTS),
  },
  "llama-160m": {
    name: "llama-160m",
    blocks: LLAMA_160M.layers,
    write: (folder, layers) => makeRandomLlama(folder, { ...LLAMA_160M, layers }, WEIGHTS),
  },
  "narrow": {
    name: "narrow",
    blocks: NARROW.layers,
    write: (folder, layers) => makeRandomLlama(folder, { ...NARROW, layers }, WEIGHTS),
  },
};
