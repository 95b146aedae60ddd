/**
 * Measures the perplexity of models with half as many heads of attention, which is the largest number below all
 * that their families allow: transformers loads a LLaMA only if the number of heads divides `hidden_size`, and moe-sotu
 * has two key heads. Heads are removed by `pare shrink` and by the norms of their columns (magnitude). For comparison,
 * `pare shrink` removes neurons with as many weights, and the default method of `pare prune` makes as many weights 0.
 */

import { openBackend } from "../../src/cli/open_backend.ts";
import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import type { Backend } from "../../src/device/backend.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { type KeptUnits, readingLayers, readUnits, UNITS } from "../../src/prune/shrink/units.ts";
import { DEFAULT_MODEL_METHOD } from "../../src/protocol/methods.ts";
import { findTexts, fixtureModel, type Kind } from "../fixtures/trained_models.ts";
import { copyDestination } from "../prune/write_pruned.ts";
import type { Bench } from "./bench.ts";
import {
  byKind,
  divideWindows,
  EPOCHS,
  measureShrunk,
  openTrained,
  type Perplexities,
  pruneByMagnitude,
  type TrainedModel,
} from "./measure/shrunk_models.ts";
import { listQualityModels } from "./quality/cells.ts";
import { formatPercent, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";

/** The models, and the kind of text that they are calibrated on. */
const CALIBRATED: Readonly<Record<string, Kind>> = {
  "llama-sotu": "speeches",
  "stories260K": "stories",
  "moe-sotu": "speeches",
};

/** The perplexities of one model on one kind of text. */
interface HeadsCell {
  readonly model: string;
  readonly kind: Kind;
  /** The numbers of heads in each block. */
  readonly heads: { readonly dense: number; readonly shrunk: number };
  /** The share of the weights of all linear layers in the blocks that belong to the removed heads. */
  readonly share: number;
  readonly dense: number;
  readonly magnitude: number;
  readonly pare: number;
  readonly reconstructed: number;
  /** Absent in a mixture, whose neurons belong to experts. */
  readonly neurons?: number;
  readonly unstructured: number;
}

interface HeadsResults {
  readonly cells: readonly HeadsCell[];
}

export const bench: Bench<object, HeadsResults> = {
  description: "perplexity of models with fewer heads: pare shrink, magnitude, fewer neurons, and zeros",
  async measure({ backend: kind }, { save }) {
    await using cleanup = new AsyncDisposableStack();
    const backend = cleanup.adopt(await openBackend(kind), (opened) => opened.dispose());
    const scratch = cleanup.adopt(
      await Deno.makeTempDir({ prefix: "pare-heads-" }),
      (path) => Deno.remove(path, { recursive: true }),
    );
    const texts = await findTexts(scratch), out = `${scratch}/smaller`, cells: HeadsCell[] = [];
    const mixture = { ...fixtureModel("moe-sotu"), evaluationWindows: 64 };
    const models = [...await listQualityModels(), mixture];
    for (const benched of models.filter(({ name }) => name in CALIBRATED)) {
      const trained = await openTrained(benched, texts, CALIBRATED[benched.name], backend, cleanup);
      const { opened, measure } = trained;
      const { checkpoint: { config }, model: { spec } } = opened;
      const { count } = readUnits("heads", config, spec), kept = { heads: count / 2 };
      const share = removedShare(trained, kept), neurons = equalNeurons(trained, share);
      const shrunk = (kept: KeptUnits, reconstruct = 0) =>
        measureShrunk(trained, backend, { kept, reconstruct, out });
      const columns = byKind({
        dense: await measure(opened.model),
        magnitude: await measure(await pruneByMagnitude(opened, kept)),
        pare: await shrunk(kept),
        reconstructed: await shrunk(kept, EPOCHS),
        ...neurons === undefined ? {} : { neurons: await shrunk({ neurons }) },
        unstructured: await measurePruned(trained, backend, share, out),
      });
      const heads = { dense: count, shrunk: kept.heads };
      for (const column of columns) {
        cells.push({ model: benched.name, heads, share, ...column });
        console.error(`${benched.name}: ${JSON.stringify(cells.at(-1))}`);
      }
      await save({ backend: kind, adapter: backend.adapter.name }, { cells });
    }
    return { cells };
  },
  tables: {
    perplexity: ({ cells }) =>
      markdownTable<HeadsCell>([
        ["model", ({ model }) => model],
        ["text", ({ kind }) => kind],
        ["heads", ({ heads: { dense, shrunk } }) => `${shrunk} of ${dense}`],
        ["fewer weights", ({ share }) => formatPercent(share)],
        ["dense", ({ dense }) => formatPerplexity(dense)],
        ["magnitude", ({ magnitude }) => formatPerplexity(magnitude)],
        ["`--heads`", ({ pare }) => formatPerplexity(pare)],
        [`\`--reconstruct ${EPOCHS}\``, ({ reconstructed }) => formatPerplexity(reconstructed)],
        ["`--ffn`", ({ neurons }) => neurons === undefined ? NOT_MEASURED : formatPerplexity(neurons)],
        ["zeros", ({ unstructured }) => formatPerplexity(unstructured)],
      ], cells),
  },
};

/** Returns the share of the weights of all linear layers that belong to removed units. */
function removedShare(
  { opened: { checkpoint: { config }, model: { spec } } }: TrainedModel,
  kept: KeptUnits,
) {
  const layers = linearLayers(spec);
  let removed = 0, all = 0;
  for (const { rows, cols } of layers) all += rows * cols;
  for (const reader of readingLayers(kept, config, spec)) {
    const own = layers.filter(({ block, linear, name }) =>
      block === reader.block && (name === reader.name || reader.writers.includes(linear.name))
    );
    for (const { rows, cols } of own) removed += reader.share * rows * cols;
  }
  return removed / all;
}

/** Returns how many neurons remain if the share of all weights is removed from them. Undefined if the family cannot lose neurons. */
function equalNeurons(trained: TrainedModel, share: number): number | undefined {
  const { checkpoint: { config }, model: { spec } } = trained.opened;
  if (!Object.hasOwn(UNITS.neurons.families, String(config.model_type))) return undefined;
  const { count } = readUnits("neurons", config, spec);
  return Math.round(count * (1 - share / removedShare(trained, { neurons: 0 })));
}

/** Makes the share of the weights of each layer 0, and measures the result. */
async function measurePruned(
  { opened: { checkpoint, model }, windows, measure }: TrainedModel,
  backend: Backend,
  sparsity: number,
  out: string,
): Promise<Perplexities> {
  await pruneModel({
    model,
    ...divideWindows(windows),
    queryOf: () => ({ method: DEFAULT_MODEL_METHOD, sparsity }),
    destination: copyDestination(checkpoint, out, true),
  }, { backend, pruner: new DevicePruner(backend) });
  await using pruned = await openModelFolder(out, fs);
  const perplexities = await measure(pruned.model);
  await Deno.remove(out, { recursive: true });
  return perplexities;
}
