/** The models of the bench `peers`: those with trained weights, and those that the bench writes with random ones. */

import { type BenchedModel, fixtureModel, listModels } from "../../fixtures/trained_models.ts";
import { LLAMA_160M, makeRandomLlama, NARROW } from "../../fixtures/make_random_llama.ts";
import { makeRandomOpt, OPT_125M } from "../../fixtures/make_random_opt.ts";
import type { RandomWeights } from "../../fixtures/random_checkpoint.ts";
import { type PeerRun, RUNS } from "./runs.ts";

/** A model, the runs that are made on it, and the checkpoint on which the settings of the peer are tried. */
export interface PeersModel {
  readonly model: BenchedModel;
  readonly runs: readonly PeerRun[];
  readonly trialFolder: string;
}

interface LazyPeersModel {
  readonly name: string;
  /** Writes what is missing into `scratch`. */
  prepare(scratch: string): Promise<PeersModel>;
}

/** A model with the sizes of a public model and random weights, which is written when the bench needs it. */
interface RandomModel {
  /** The number of transformer blocks of the whole model. */
  readonly blocks: number;
  /** Writes the checkpoint with `blocks` transformer blocks, each of the full size. */
  write(folder: string, blocks: number): Promise<void>;
}

/** The weights are stored in bfloat16, as in most public models. */
const WEIGHTS: RandomWeights = { dtype: "BF16" };

const RANDOM_MODELS: Readonly<Record<string, RandomModel>> = {
  "opt-125m": {
    blocks: OPT_125M.layers,
    write: (folder, layers) => makeRandomOpt(folder, { ...OPT_125M, layers }, WEIGHTS),
  },
  "llama-160m": {
    blocks: LLAMA_160M.layers,
    write: (folder, layers) => makeRandomLlama(folder, { ...LLAMA_160M, layers }, WEIGHTS),
  },
  "narrow": {
    blocks: NARROW.layers,
    write: (folder, layers) => makeRandomLlama(folder, { ...NARROW, layers }, WEIGHTS),
  },
};

/**
 * The calibration and evaluation windows of models with random weights. Their perplexity says nothing, so a few
 * windows are evaluated, which only check that the outputs are right.
 */
const RANDOM_WINDOWS = { seqlen: 512, calibrationWindows: 16, evaluationWindows: 4 };

/** Models whose blocks are so narrow that more calibration windows fit into a bench. */
const MORE_WINDOWS: Readonly<Record<string, number>> = { narrow: 64 };

/**
 * The trials of a model with random weights run on one of so many of its blocks. With fewer blocks, the product with the head, which
 * llm-compressor computes once, would take most of the time.
 */
const BLOCKS_PER_TRIAL_BLOCK = 6;

export const RANDOM_NAMES = Object.keys(RANDOM_MODELS);

/** The runs on models with random weights. Only SparseGPT runs, because only its time and memory are of interest there. */
const RANDOM_RUNS = RUNS.filter(({ target, title }) => target === "50 %" && title.startsWith("SparseGPT"));

/** Lists the models that exist on this machine or can be made on it. A missing third-party model is reported to `log`. */
export async function listPeersModels(log: (text: string) => void): Promise<LazyPeersModel[]> {
  const trained = (await listModels(log)).map((model): LazyPeersModel => ({
    name: model.name,
    prepare: () => Promise.resolve({ model, runs: RUNS, trialFolder: model.folder }),
  }));
  return [...trained, ...RANDOM_NAMES.map(lazyRandomModel)];
}

function lazyRandomModel(name: string): LazyPeersModel {
  const { blocks, write } = RANDOM_MODELS[name];
  return {
    name,
    async prepare(scratch) {
      const folder = `${scratch}/${name}`, trialFolder = `${scratch}/${name}-trial`;
      await write(folder, blocks);
      await write(trialFolder, Math.ceil(blocks / BLOCKS_PER_TRIAL_BLOCK));
      // The checkpoint has the tokenizer of opt-sotu, so its texts give the same token ids.
      const { calibrationWindows: usual } = RANDOM_WINDOWS, calibrationWindows = MORE_WINDOWS[name] ?? usual;
      const model = { ...fixtureModel("opt-sotu"), name, folder, ...RANDOM_WINDOWS, calibrationWindows };
      return { model, runs: RANDOM_RUNS, trialFolder };
    },
  };
}
