/**
 * Times the pruning of whole models by Pare and by a PyTorch program in two forms, which are called the references. In each
 * round, Pare prunes the model once for each way to multiply matrices, and then each reference once. Before anything is timed,
 * one run of each is made and their losses are compared. This proves that all of them solve the same problem. Each reference runs
 * in the build and the setting of PyTorch that were fastest in short trials.
 *
 * Besides the medians, the fastest run of each program is reported. Other load on the machine only adds time. The same load adds
 * several times as much to PyTorch's time, because OpenBLAS's threads wait for each other. On a busy machine the ratio of the
 * medians is therefore too favourable to Pare.
 */

import { fileURLToPath } from "node:url";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import type { Bench } from "./bench.ts";
import { integer } from "../../src/cli/options/common_options.ts";
import { type BackendChoice, type BackendLibraries, PRECISIONS } from "../../src/host/backends.ts";
import { openModel } from "../../src/model/model.ts";
import { encodeText, loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { PhaseClock } from "../../src/prune/run/phase_clock.ts";
import { sotuText } from "../fixtures/sotu_text.ts";
import { copyDestination } from "../prune/write_pruned.ts";
import { formatProducts, type MatrixProducts, matrixProducts } from "./measure/matrix_products.ts";
import { RANDOM_MODELS, randomTitle } from "./measure/random_models.ts";
import { median, medians } from "./measure/statistics.ts";
import { type LayerLoss, type ModelRun, requireSameProblem } from "./measure/same_problem.ts";
import { type Column, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";
import { type Choice, chooseFastest, type Trial, trialsTable } from "./torch/choose_fastest.ts";
import { removeKernelOverrides } from "./torch/peer_environment.ts";
import { candidateTitle, type TorchCandidate, torchCandidates } from "./torch/thread_settings.ts";
import { describeBuilds, findTorchBuilds, type TorchBuild } from "./torch/torch_builds.ts";
import { TorchProcess, trialSeconds } from "./torch/torch_process.ts";

/**
 * The two forms of the PyTorch program `reference_model.py`: `published` does what the published script does,
 * and `shared` omits the products that the result does not need.
 */
export type ReferenceForm = "published" | "shared";

/** A checkpoint to prune and the text to calibrate it on. */
interface ModelCase {
  readonly title: string;
  readonly folder: string;
  /** The token ids of each window. All windows have the same length. */
  readonly windows: readonly Uint32Array[];
  /** The checkpoint and the windows on which the settings of PyTorch are tried. */
  readonly trial: Pick<ModelCase, "folder" | "windows">;
}

export type ModelTrials = Readonly<Partial<Record<ReferenceForm, readonly Trial[]>>>;

/** The medians of one checkpoint and one way to multiply matrices. Times are in seconds. */
interface ModelTiming {
  readonly title: string;
  /** The library that multiplied matrices for Pare. Absent if Pare's own kernels did. */
  readonly library?: string;
  readonly layers: number;
  readonly windows: number;
  readonly seqlen: number;
  readonly runs: number;
  readonly seconds: ModelRun["seconds"];
  readonly fastestSeconds: number;
  /** The result of each form of the reference. Empty if no Python with torch was found. */
  readonly references: Readonly<Partial<Record<ReferenceForm, ReferenceResult>>>;
}

/** The medians of one form of the reference, and its ratios to Pare. */
interface ReferenceResult {
  readonly seconds: ModelRun["seconds"];
  /** The build and the setting of PyTorch. It was the fastest one in the trials. */
  readonly setting?: string;
  /** The median, over the rounds, of the reference's time divided by Pare's. */
  readonly speedup: number;
  readonly fastestSeconds: number;
  /** The reference's fastest run divided by Pare's fastest run. */
  readonly fastestSpeedup: number;
}

const FORMS: readonly ReferenceForm[] = ["published", "shared"];

interface ModelBenchOptions {
  /** The builds of PyTorch and the settings to try. If there are none, Pare is timed alone. */
  readonly candidates: readonly TorchCandidate[];
  readonly backend: BackendChoice;
  readonly products: readonly MatrixProducts[];
  /** How many rounds to time, after one round that is checked but not timed. */
  readonly repeat: number;
}

/** A form of the reference in its fastest setting, and its timed runs. */
interface Reference {
  readonly form: ReferenceForm;
  readonly choice: Choice<TorchCandidate>;
  readonly prune: () => Promise<ModelRun>;
  readonly runs: ModelRun[];
}

interface ModelBenchResult {
  /** One entry for each way to multiply matrices. */
  readonly timings: readonly ModelTiming[];
  readonly trials: ModelTrials;
}

export interface ModelTimings {
  /** One entry for each model and each way to multiply matrices. */
  readonly models: readonly ModelTiming[];
  readonly builds?: readonly TorchBuild[];
  /** The short runs that chose the build and the setting of PyTorch for each model. */
  readonly trials?: readonly { readonly title: string; readonly forms: ModelTrials }[];
}

const OPT_SOTU = fileURLToPath(new URL("../../tests/fixtures/models/opt-sotu", import.meta.url));

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

interface ScriptOptions {
  readonly models: string;
  readonly repeat: number;
  readonly add?: boolean;
}

export const bench: Bench<ScriptOptions, ModelTimings> = {
  description: "`pare prune` of whole models, beside the published script in PyTorch in its fastest setting",
  options: (command) =>
    command
      .option(
        "--models <list>",
        "comma-separated: opt-sotu; opt-125m and llama-160m (their sizes, with random weights)",
        Object.keys(WINDOWS).join(","),
      )
      .option("--repeat <n>", "timed rounds for each model, after one round that is not timed", integer(1), 3)
      .option("--add", "keep the other models of the results file"),
  async measure({ models, backend, repeat, add }, { earlier, save }) {
    removeKernelOverrides();
    const builds = await findTorchBuilds();
    if (builds.length === 0) {
      console.error("No Python with torch and safetensors was found, so Pare is timed alone.");
    }
    const candidates = torchCandidates(builds), products = await matrixProducts(backend, PRECISIONS);
    const kept = add ? earlier : undefined;
    const isOther = ({ title }: { readonly title: string }) =>
      !models.split(",").map(titleOf).includes(title);
    let results: ModelTimings = {
      models: kept?.models.filter(isOther) ?? [],
      builds,
      trials: kept?.trials?.filter(isOther) ?? [],
    };
    const scratch = await Deno.makeTempDir();
    try {
      const tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
      const tokens = encodeText(tokenizer, await sotuText("calibration"), "txt");
      for (const name of models.split(",")) {
        const modelCase = await prepareModel(name, tokens, scratch);
        const { timings, trials } = await benchModel(modelCase, { candidates, backend, products, repeat });
        console.error(modelTable({ models: timings }));
        results = {
          ...results,
          models: [...results.models, ...timings],
          trials: [...results.trials!, { title: modelCase.title, forms: trials }],
        };
        await save(products[0].device, results);
      }
    } finally {
      await Deno.remove(scratch, { recursive: true });
    }
    return results;
  },
  tables: { models: modelTable, settings: modelSettingsTable },
};

/** Chooses the setting of PyTorch, and times `repeat` rounds. @throws {Error} if Pare and a reference solve different problems */
async function benchModel(
  modelCase: ModelCase,
  { candidates, backend, products, repeat }: ModelBenchOptions,
): Promise<ModelBenchResult> {
  const { title, folder, windows } = modelCase;
  const scratch = await Deno.makeTempDir();
  await using processes = new AsyncDisposableStack();
  try {
    const references: Reference[] = [];
    for (const form of candidates.length > 0 ? FORMS : []) {
      const choice = await chooseSetting(form, modelCase.trial, candidates, scratch);
      const args = await referenceArguments(form, folder, windows, scratch);
      const program = new TorchProcess(choice.best, "reference_model.py", args);
      processes.defer(() => program.stop());
      references.push({ form, choice, prune: () => program.run(`${scratch}/torch`), runs: [] });
    }
    const ours = products.map((way) => ({
      library: way.library,
      prune: () => runPare(folder, `${scratch}/pare`, windows, backend, way),
      runs: [] as ModelRun[],
    }));

    const warm: ModelRun[] = [];
    for (const { prune } of ours) warm.push(await prune());
    for (const { prune } of references) {
      const run = await prune();
      for (const own of warm) requireSameProblem(own, run);
    }
    for (let round = 0; round < repeat; round++) {
      for (const { prune, runs } of [...ours, ...references]) runs.push(await prune());
    }
    const timings = ours.map(({ library, runs }): ModelTiming => ({
      title,
      ...(library !== undefined && { library }),
      layers: warm[0].layers.length,
      windows: windows.length,
      seqlen: windows[0].length,
      runs: repeat,
      seconds: medianSeconds(runs),
      fastestSeconds: fastestTotal(runs),
      references: Object.fromEntries(
        references.map((reference) => [reference.form, compare(runs, reference)]),
      ),
    }));
    return {
      timings,
      trials: Object.fromEntries(references.map(({ form, choice }) => [form, choice.trials])),
    };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function chooseSetting(
  form: ReferenceForm,
  { folder, windows }: ModelCase["trial"],
  candidates: readonly TorchCandidate[],
  scratch: string,
): Promise<Choice<TorchCandidate>> {
  const args = await referenceArguments(form, folder, windows, scratch);
  return await chooseFastest(
    candidates,
    candidateTitle,
    (candidate) => trialSeconds(candidate, "reference_model.py", args, `${scratch}/trial`),
  );
}

/** Writes the windows to a file of their own in `scratch`, and returns the arguments of `reference_model.py`. */
async function referenceArguments(
  form: ReferenceForm,
  folder: string,
  windows: readonly Uint32Array[],
  scratch: string,
): Promise<string[]> {
  const file = await Deno.makeTempFile({ dir: scratch, suffix: ".json" });
  await Deno.writeTextFile(file, JSON.stringify(windows.map((window) => [...window])));
  return ["--form", form, folder, file];
}

function compare(ours: readonly ModelRun[], { choice, runs: theirs }: Reference): ReferenceResult {
  return {
    setting: candidateTitle(choice.best),
    seconds: medianSeconds(theirs),
    speedup: median(theirs.map(({ seconds }, i) => seconds.total / ours[i].seconds.total)),
    fastestSeconds: fastestTotal(theirs),
    fastestSpeedup: fastestTotal(theirs) / fastestTotal(ours),
  };
}

function fastestTotal(runs: readonly ModelRun[]): number {
  return Math.min(...runs.map(({ seconds }) => seconds.total));
}

function medianSeconds(runs: readonly ModelRun[]): ModelRun["seconds"] {
  return medians(runs.map(({ seconds }) => seconds));
}

/** @throws {RangeError} if no model has this name */
async function prepareModel(name: string, tokens: Uint32Array, scratch: string): Promise<ModelCase> {
  if (!Object.hasOwn(WINDOWS, name)) {
    throw new RangeError(`model ${name} is unknown. The models are ${Object.keys(WINDOWS).join(", ")}`);
  }
  const windows = calibrationWindows(tokens, WINDOWS[name]);
  const random = RANDOM_MODELS[name];
  if (!random) {
    return { title: titleOf(name), folder: OPT_SOTU, windows, trial: { folder: OPT_SOTU, windows } };
  }
  const folder = `${scratch}/${name}`, trialFolder = `${scratch}/${name}-trial`;
  await random.write(folder, random.blocks);
  await random.write(trialFolder, 1);
  const trial = { folder: trialFolder, windows: windows.slice(0, TRIAL_WINDOWS) };
  return { title: titleOf(name), folder, windows, trial };
}

function titleOf(name: string): string {
  return RANDOM_MODELS[name] ? randomTitle(name) : name;
}

/** Prunes the checkpoint in `folder` to 50 % and writes the result to `out`. Opening the backend is part of the timed run. */
async function runPare(
  folder: string,
  out: string,
  windows: readonly Uint32Array[],
  choice: BackendChoice,
  libraries: BackendLibraries,
): Promise<ModelRun> {
  const clock = new PhaseClock();
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const backend = cleanup.adopt(await openBackend(choice, libraries), (opened) => opened.dispose());
  const pruner = new DevicePruner(backend);
  const start = elapsed();
  const layers: LayerLoss[] = [];
  let solved = 0;
  const destination = copyDestination(checkpoint, out, true);
  const queryOf = () => ({ sparsity: 0.5, error: false });
  await pruneModel({ model: openModel(checkpoint), windows, queryOf, destination }, {
    backend,
    pruner,
    clock,
    onLayerDone(_done, _total, event) {
      if (!event) return;
      layers.push({ name: event.name, loss: event.report.loss ?? NaN });
      clock.charge(event.report);
      solved = elapsed();
    },
  });
  const total = elapsed();
  const { calibrate, send, read, factor, solve, write } = clock.seconds;
  const seconds = {
    start,
    calibrate,
    // No request is timed as `send` here. `charge` has subtracted the seconds of the host's phases from `send`, so `send` is
    // negative. The exchange is the part of the loop that is not calibration, a phase of the host, or writing.
    exchange: send + solved - start - calibrate - write,
    read,
    factor,
    solve,
    write: write + total - solved,
    total,
  };
  return { seconds, layers };
}

const COLUMNS: readonly Column<ModelTiming>[] = [
  ["model", (r) => r.title],
  ["products", formatProducts],
  ["layers", (r) => String(r.layers)],
  ["windows × tokens", (r) => `${r.windows} × ${r.seqlen}`],
  ["calibrate s", (r) => r.seconds.calibrate.toFixed(2)],
  ["factor s", (r) => r.seconds.factor.toFixed(2)],
  ["solve s", (r) => r.seconds.solve.toFixed(2)],
  ["rest s", (r) => restSeconds(r).toFixed(2)],
  ["total s", (r) => r.seconds.total.toFixed(2)],
  ...referenceColumns("published"),
  ...referenceColumns("shared"),
];
function modelTable({ models }: Pick<ModelTimings, "models">): string {
  return markdownTable(COLUMNS, models);
}

/**
 * Renders one row per build and setting of PyTorch, and one column per model and form: the seconds of the short
 * runs that chose the setting. A line below the table names the builds.
 */
function modelSettingsTable({ trials = [], builds = [] }: ModelTimings): string {
  const cases = trials.flatMap(({ title, forms }) =>
    Object.entries(forms).map(([form, trials]) => ({ title: `${title}, ${form}`, trials }))
  );
  return `${trialsTable(cases)}\n\n${describeBuilds(builds)}`;
}

function referenceColumns(form: ReferenceForm): Column<ModelTiming>[] {
  return [
    [`${form} s`, (r) => r.references[form]?.seconds.total.toFixed(2) ?? NOT_MEASURED],
    [`setting of ${form}`, (r) => r.references[form]?.setting ?? NOT_MEASURED],
    [`× ${form}`, (r) => r.references[form]?.speedup.toFixed(2) ?? NOT_MEASURED],
  ];
}

/** The seconds that belong to no other column: starting, moving tensors, and writing the checkpoint. */
function restSeconds({ seconds: { total, calibrate, factor, solve } }: ModelTiming): number {
  return total - calibrate - factor - solve;
}
