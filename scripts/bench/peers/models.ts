/**
 * The models of the bench of the peers. They are the trained models of the other benches, and models with random
 * weights that have the sizes of public models.
 */

import { type BenchedModel, fixtureModel, listModels } from "../families/models.ts";
import { RANDOM_MODELS, type RandomModel } from "../measure/random_models.ts";
import { type PeerRun, RUNS } from "./runs.ts";

/** A model, the runs that are made on it, and the checkpoint on which the settings of the peer are tried. */
export interface PeersModel {
  readonly model: BenchedModel;
  readonly runs: readonly PeerRun[];
  readonly trialFolder: string;
}

/** A model that is prepared when its turn comes. */
export interface LazyPeersModel {
  readonly name: string;
  /** Writes what is missing into `scratch`. */
  prepare(scratch: string): Promise<PeersModel>;
}

/**
 * The calibration and evaluation windows of models with random weights. Their perplexity says nothing, so a few
 * windows are evaluated, which only check that the outputs are right.
 */
const RANDOM_WINDOWS = { seqlen: 512, calibrationWindows: 16, evaluationWindows: 4 };

/** The runs on models with random weights. Only SparseGPT runs, because only its time and memory are of interest there. */
const RANDOM_RUNS = RUNS.filter(({ target, title }) => target === "50 %" && title.startsWith("SparseGPT"));

/** Lists the models that exist on this machine or can be made on it. A missing third-party model is reported to `log`. */
export async function listPeersModels(log: (text: string) => void): Promise<LazyPeersModel[]> {
  const trained = (await listModels(log)).map((model): LazyPeersModel => ({
    name: model.name,
    prepare: () => Promise.resolve({ model, runs: RUNS, trialFolder: model.folder }),
  }));
  return [...trained, ...Object.values(RANDOM_MODELS).map(lazyRandomModel)];
}

function lazyRandomModel({ name, write }: RandomModel): LazyPeersModel {
  return {
    name,
    async prepare(scratch) {
      const folder = `${scratch}/${name}`, trialFolder = `${scratch}/${name}-trial`;
      await write(folder);
      await write(trialFolder, 1);
      // The checkpoint has the tokenizer of opt-sotu, so its texts give the same token ids.
      const model = { ...fixtureModel("opt-sotu"), name, folder, ...RANDOM_WINDOWS };
      return { model, runs: RANDOM_RUNS, trialFolder };
    },
  };
}
