/** Models with the sizes of public models and random weights, for benches that measure time and memory. */

import { LLAMA_160M, makeRandomLlama } from "../../fixtures/make_random_llama.ts";
import { makeRandomOpt, OPT_125M } from "../../fixtures/make_random_opt.ts";

/** A model that is written when a bench needs it. */
export interface RandomModel {
  readonly name: string;
  /** Writes the checkpoint. With `blocks`, it has only this number of transformer blocks, each of the full size. */
  write(folder: string, blocks?: number): Promise<void>;
}

export const RANDOM_MODELS: Readonly<Record<string, RandomModel>> = {
  "opt-125m": {
    name: "opt-125m",
    write: (folder, blocks = OPT_125M.layers) => makeRandomOpt(folder, { ...OPT_125M, layers: blocks }),
  },
  "llama-160m": {
    name: "llama-160m",
    write: (folder, blocks = LLAMA_160M.layers) => makeRandomLlama(folder, { ...LLAMA_160M, layers: blocks }),
  },
};

/** Returns the title that a model with random weights has in tables. */
export function randomTitle(name: string): string {
  return `${name}, random weights`;
}
