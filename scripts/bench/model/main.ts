/**
 * The model bench: times how long `pare prune` and two forms of a PyTorch program
 * (`torch/reference_model.py`) take to prune whole models. One model is opt-sotu, a small OPT model of this
 * repository that was trained on State of the Union addresses. The others have the sizes of opt-125m and of
 * llama-160m and random weights, and are written for the run. The bench writes results/NAME.json after each
 * model, and prints the tables.
 *
 *     deno task bench:model
 *
 * All programs get the same windows of token ids. Tokenizing the text and starting Deno and Python are not
 * timed.
 */

import { Command } from "commander";
import { fileURLToPath } from "node:url";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { calibrationWindows } from "../../../src/calibration/windows.ts";
import { addBackendOption, integer } from "../../../src/cli/options/common_options.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer } from "../../../src/models/tokenizer/tokenizer.ts";
import { sotuText } from "../../fixtures/sotu_text.ts";
import { matrixProducts } from "../measure/matrix_products.ts";
import { RANDOM_MODELS, randomTitle } from "../measure/random_models.ts";
import { readResultsIfPresent, resultsUrl, writeResults } from "../report/results_file.ts";
import { removeKernelOverrides } from "../torch/peer_environment.ts";
import { torchCandidates } from "../torch/thread_settings.ts";
import { findTorchBuilds } from "../torch/torch_builds.ts";
import { benchModel, type ModelCase } from "./bench_model.ts";
import { modelSettingsTable, modelTable, type ModelTimings } from "./table.ts";

const OPT_SOTU = fileURLToPath(new URL("../../../tests/fixtures/models/opt-sotu", import.meta.url));

/**
 * The calibration windows of each model. opt-sotu uses the same windows as the demo. The larger models have so
 * few windows that a run of PyTorch takes less than two minutes.
 */
const WINDOWS: Readonly<Record<string, { readonly windows: number; readonly seqlen: number }>> = {
  "opt-sotu": { windows: 64, seqlen: 256 },
  "opt-125m": { windows: 16, seqlen: 512 },
  "llama-160m": { windows: 16, seqlen: 512 },
};

/** The size of the trials on a model with random weights: one of its blocks, and so many windows. */
const TRIAL_WINDOWS = 4;

interface Options {
  readonly models: string;
  readonly backend: BackendChoice;
  readonly repeat: number;
  readonly add?: boolean;
  readonly name: string;
}

const command = new Command("bench model")
  .description("Times the pruning of whole models by Pare and by PyTorch, and writes results/NAME.json.")
  .option(
    "--models <list>",
    "comma-separated: opt-sotu; opt-125m and llama-160m (their sizes, with random weights)",
    Object.keys(WINDOWS).join(","),
  )
  .option("--repeat <n>", "timed rounds for each model, after one round that is not timed", integer(1), 3)
  .option("--add", "keep the other models of the results file, so that several commands measure the models")
  .option("--name <name>", "name of the results file", "model");
const { models, backend, repeat, add, name: file } = addBackendOption(command)
  .parse(Deno.args, { from: "user" }).opts<Options>();

removeKernelOverrides();
const builds = await findTorchBuilds();
if (builds.length === 0) {
  console.error("No Python with torch and safetensors was found, so Pare is timed alone.");
}
const candidates = torchCandidates(builds), products = await matrixProducts(backend);

const scratch = await Deno.makeTempDir();
const before = add ? await readResultsIfPresent<ModelTimings>(resultsUrl(file, "json")) : undefined;
const isOther = ({ title }: { readonly title: string }) => !models.split(",").map(titleOf).includes(title);
let results: ModelTimings = {
  models: before?.models.filter(isOther) ?? [],
  builds,
  trials: before?.trials?.filter(isOther) ?? [],
};
try {
  const tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
  const tokens = encodeText(tokenizer, await sotuText("calibration"), "txt");
  for (const name of models.split(",")) {
    const modelCase = await prepareModel(name, tokens);
    const { timings, trials } = await benchModel(modelCase, { candidates, backend, products, repeat });
    console.error(modelTable({ models: timings }));
    results = {
      ...results,
      models: [...results.models, ...timings],
      trials: [...results.trials!, { title: modelCase.title, forms: trials }],
    };
    await writeResults(resultsUrl(file, "json"), products[0].device, results);
  }
} finally {
  await Deno.remove(scratch, { recursive: true });
}
console.log([modelTable(results), modelSettingsTable(results)].join("\n\n"));

/** @throws {RangeError} if no model has this name */
async function prepareModel(name: string, tokens: Uint32Array): Promise<ModelCase> {
  if (!Object.hasOwn(WINDOWS, name)) {
    throw new RangeError(`model ${name} is unknown. The models are ${Object.keys(WINDOWS).join(", ")}`);
  }
  const windows = calibrationWindows(tokens, WINDOWS[name]);
  const random = RANDOM_MODELS[name];
  if (!random) {
    return { title: titleOf(name), folder: OPT_SOTU, windows, trial: { folder: OPT_SOTU, windows } };
  }
  const folder = `${scratch}/${name}`, trialFolder = `${scratch}/${name}-trial`;
  await random.write(folder);
  await random.write(trialFolder, 1);
  const trial = { folder: trialFolder, windows: windows.slice(0, TRIAL_WINDOWS) };
  return { title: titleOf(name), folder, windows, trial };
}

/** The title of a model in the tables. */
function titleOf(name: string): string {
  return RANDOM_MODELS[name] ? randomTitle(name) : name;
}
