/**
 * `pare prune` end to end beside PyTorch doing the same in its two forms (`reference_model.py`), in turn: the trained fixture opt-sotu, and a random
 * checkpoint of opt-125m's shape made for the run. Before a model is timed, the loss of every layer is checked against the
 * reference's. Both get the same windows of token ids; tokenizing, and starting Deno and Python, is not timed.
 * Writes `scripts/bench/results/NAME.json` and prints the table.
 */

import { Command } from "commander";
import { fileURLToPath } from "node:url";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { calibrationWindows } from "../../../src/calibration/windows.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer } from "../../../src/models/tokenizer/tokenizer.ts";
import { makeRandomOpt } from "../../make_random_opt.ts";
import { sotuText } from "../../sotu_text.ts";
import { withBackend } from "../in_process.ts";
import { machine } from "../machine.ts";
import { writeResults } from "../results_file.ts";
import { findPython } from "../torch.ts";
import { benchModel, type ModelCase, type ModelResult, type ModelsFile } from "./bench_model.ts";
import { modelTable } from "./table.ts";

const SOTU = fileURLToPath(new URL("../../../tests/fixtures/models/opt-sotu", import.meta.url));

/** Windows and tokens in each: the demo's, and few enough that PyTorch's run stays within two minutes. */
const SIZES = { "opt-sotu": { windows: 64, seqlen: 256 }, "opt-125m": { windows: 16, seqlen: 512 } } as const;
type Name = keyof typeof SIZES;

const program = new Command("bench model")
  .option(
    "--models <list>",
    "comma-separated: opt-sotu, opt-125m (its shape, random weights)",
    "opt-sotu,opt-125m",
  )
  .option("--backend <kind>", "auto, cpu or webgpu", "auto")
  .option("--repeat <n>", "timed rounds a model, after one that is not", "3")
  .option("--name <name>", "name of the results file", "model")
  .parse(["deno", "bench", ...Deno.args]);
const options = program.opts<{ models: string; backend: BackendChoice; repeat: string; name: string }>();

const python = await findPython();
if (!python) console.error("no Python with torch and safetensors was found: timing without the reference");

const scratch = await Deno.makeTempDir();
const models: ModelResult[] = [];
try {
  const tokenizer = await loadTokenizer(SOTU, denoFileSystem);
  const tokens = encodeText(tokenizer, await sotuText("calibration"), "txt");
  for (const name of options.models.split(",")) {
    const modelCase = await prepare(name, tokens);
    models.push(await benchModel(modelCase, python, options.backend, Number(options.repeat)));
    console.error(modelTable(models.slice(-1)));
  }
} finally {
  await Deno.remove(scratch, { recursive: true });
}

const ran = await withBackend(
  options.backend,
  (backend) => Promise.resolve({ backend: backend.kind, adapter: backend.adapter.name }),
);
const measured = { date: new Date().toISOString(), machine: await machine(), ...ran };
await writeResults<ModelsFile>(options.name, { ...measured, models });
console.log(modelTable(models));

async function prepare(name: string, tokens: Uint32Array): Promise<ModelCase> {
  if (!Object.hasOwn(SIZES, name)) throw new RangeError(`model ${name}: is none of ${Object.keys(SIZES)}`);
  const windows = calibrationWindows(tokens, SIZES[name as Name]);
  if (name === "opt-sotu") return { title: name, folder: SOTU, windows };
  const random = `${scratch}/${name}`;
  await makeRandomOpt(random);
  return { title: `${name}, random weights`, folder: random, windows };
}
