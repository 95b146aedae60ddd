/**
 * The model bench: times how long `pare prune` and two forms of a PyTorch program
 * (`torch/reference_model.py`) take to prune whole models. One model is opt-sotu, a small OPT model of this
 * repository that was trained on State of the Union addresses. The other has the sizes of opt-125m and random
 * weights, and is created for the run. The bench writes results/NAME.json and prints the table.
 *
 *     deno run -A scripts/bench/model/main.ts
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
import { makeRandomOpt } from "../../fixtures/make_random_opt.ts";
import { sotuText } from "../../fixtures/sotu_text.ts";
import { withBackend } from "../measure/with_backend.ts";
import { type BenchDevice, resultsUrl, writeResults } from "../report/results_file.ts";
import { findPython } from "../torch/torch_process.ts";
import { benchModel, type ModelCase, type ModelTiming } from "./bench_model.ts";
import { modelTable } from "./table.ts";

const OPT_SOTU = fileURLToPath(new URL("../../../tests/fixtures/models/opt-sotu", import.meta.url));

/**
 * The calibration windows of each model. opt-sotu uses the same windows as the demo. opt-125m has so few
 * windows that a run of PyTorch takes less than two minutes.
 */
const WINDOWS = {
  "opt-sotu": { windows: 64, seqlen: 256 },
  "opt-125m": { windows: 16, seqlen: 512 },
} as const;
type ModelName = keyof typeof WINDOWS;

interface Options {
  readonly models: string;
  readonly backend: BackendChoice;
  readonly repeat: number;
  readonly name: string;
}

const command = new Command("bench model")
  .description("Times the pruning of whole models by Pare and by PyTorch, and writes results/NAME.json.")
  .option(
    "--models <list>",
    "comma-separated: opt-sotu, opt-125m (its sizes, with random weights)",
    "opt-sotu,opt-125m",
  )
  .option("--repeat <n>", "timed rounds for each model, after one round that is not timed", integer(1), 3)
  .option("--name <name>", "name of the results file", "model");
const options = addBackendOption(command).parse(Deno.args, { from: "user" }).opts<Options>();

const python = await findPython();
if (!python) console.error("No Python with torch and safetensors was found, so Pare is timed alone.");

const scratch = await Deno.makeTempDir();
const models: ModelTiming[] = [];
try {
  const tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
  const tokens = encodeText(tokenizer, await sotuText("calibration"), "txt");
  for (const name of options.models.split(",")) {
    const modelCase = await prepareModel(name, tokens);
    const result = await benchModel(modelCase, python, options.backend, options.repeat);
    models.push(result);
    console.error(modelTable({ models: [result] }));
  }
} finally {
  await Deno.remove(scratch, { recursive: true });
}

const device = await withBackend(
  options.backend,
  (backend): Promise<BenchDevice> =>
    Promise.resolve({ backend: backend.kind, adapter: backend.adapter.name }),
);
await writeResults(resultsUrl(options.name, "json"), device, { models });
console.log(modelTable({ models }));

/** @throws {RangeError} if no model has this name */
async function prepareModel(name: string, tokens: Uint32Array): Promise<ModelCase> {
  if (!Object.hasOwn(WINDOWS, name)) {
    throw new RangeError(`model ${name} is unknown. The models are ${Object.keys(WINDOWS).join(" and ")}`);
  }
  const windows = calibrationWindows(tokens, WINDOWS[name as ModelName]);
  if (name === "opt-sotu") return { title: name, folder: OPT_SOTU, windows };
  const folder = `${scratch}/${name}`;
  await makeRandomOpt(folder);
  return { title: `${name}, random weights`, folder, windows };
}
