/**
 * Compresses models by Pare and by llm-compressor, once for every run, and measures the results. Pare makes
 * each of its runs once for each way to multiply matrices. llm-compressor runs in the setting of threads that was
 * fastest in a trial. Every run writes a dense checkpoint, and `pare eval` measures the perplexity of each checkpoint.
 * The library transformers also measures the original model and the first checkpoint of each program. The
 * bench fails if the two perplexities of a checkpoint differ by more than 0.1 percent.
 */

import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import type { Bench } from "./bench.ts";
import { integer } from "../../src/cli/options/common_options.ts";
import { type BackendChoice, PRECISIONS } from "../../src/host/backends.ts";
import { type BenchedModel, fixtureModel, listModels } from "../fixtures/trained_models.ts";
import { peersSkipReason, VENVS } from "../peers/venv.ts";
import { countZeros, type ZeroCount } from "./llm_compressor/count_zeros.ts";
import { findPeerBuilds, type UnusableBuild } from "./llm_compressor/peer_builds.ts";
import {
  type Calibration,
  parePerplexities,
  type RunCost,
  runLlmCompressor,
  runPare,
  transformersPerplexities,
} from "./llm_compressor/programs.ts";
import { type PeerRun, RUNS } from "./llm_compressor/runs.ts";
import { formatProducts, type MatrixProducts, matrixProducts } from "./measure/matrix_products.ts";
import { RANDOM_MODELS, type RandomModel } from "./measure/random_models.ts";
import { median } from "./measure/statistics.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";
import { type Choice, chooseFastest, type Trial, trialsTable } from "./torch/choose_fastest.ts";
import { removeKernelOverrides } from "./torch/peer_environment.ts";
import { type ThreadSetting, threadSettings } from "./torch/thread_settings.ts";
import { describeBuilds, type TorchBuild } from "./torch/torch_builds.ts";

interface PeersOptions {
  readonly backend: BackendChoice;
  /** The number of repetitions. Each repetition makes all runs, one after the other. */
  readonly repeat: number;
  readonly products: readonly MatrixProducts[];
  /** Prints a line. It is called after every run. */
  readonly log: (text: string) => void;
}

/** The versions that llm-compressor reported about itself and its libraries. */
type Versions = Readonly<Record<string, string>>;

/** The recipe with which the settings of llm-compressor are tried. */
const TRIAL = { recipe: "sparsegpt" };

/** A run, the folder of its checkpoint, and the time and memory of each repetition so far. */
interface TimedRun {
  readonly run: PeerRun;
  /** How Pare multiplies matrices. Absent for llm-compressor. */
  readonly products?: MatrixProducts;
  readonly out: string;
  readonly costs: RunCost[];
  /** The number of weights outside the linear layers that llm-compressor changed and its script restored. */
  restored?: number;
}

/** A checkpoint with the perplexity that `pare eval` measured. */
interface MeasuredCheckpoint {
  readonly title: string;
  readonly folder: string;
  readonly perplexity: number;
}

interface PeersBenchOptions {
  readonly models: string;
  readonly repeat: number;
  readonly add?: boolean;
}

export const bench: Bench<PeersBenchOptions, PeersResults> = {
  description: "`pare prune` of whole models, beside llm-compressor, by perplexity, seconds and memory",
  options: (command) =>
    command
      .option(
        "--models <list>",
        "comma-separated names of models; those that are not on this machine are skipped. opt-125m and llama-160m " +
          "have random weights",
        "opt-sotu,llama-sotu,stories260K,opt-125m,llama-160m",
      )
      .option("--repeat <n>", "repetitions of each run", integer(1), 3)
      .option("--add", "keep the other models of the results file"),
  async measure({ models: names, backend, repeat, add }, { earlier, save }) {
    const reason = await peersSkipReason(VENVS["llm-compressor"]);
    if (reason !== undefined) throw new Error(`bench peers: ${reason}`);
    let loadAverage = 0;
    const log = (text: string) => {
      loadAverage = Math.max(loadAverage, Deno.loadavg()[0]);
      console.error(text);
    };
    removeKernelOverrides();
    const products = await matrixProducts(backend, PRECISIONS);
    const { usable: build, unusable } = await findPeerBuilds();
    const wanted = new Set(names.split(","));
    const others = add ? earlier?.models.filter((model) => !wanted.has(model.name)) ?? [] : [];
    let results: PeersResults = { repeat, build, unusable, loadAverage, versions: {}, models: others };
    for (const lazy of (await listPeersModels(log)).filter(({ name }) => wanted.has(name))) {
      const scratch = await Deno.makeTempDir({ prefix: "pare-peers-" });
      try {
        log(lazy.name);
        const model = await lazy.prepare(scratch);
        const { versions, ...result } = await benchPeers(model, scratch, { backend, products, repeat, log });
        results = { ...results, loadAverage, versions, models: [...results.models, result] };
        await save(products[0].device, results);
      } finally {
        await Deno.remove(scratch, { recursive: true });
      }
    }
    if (results.models.length === 0) {
      throw new Error(`option --models ${names}: none of these models is on this machine`);
    }
    return results;
  },
  tables: { peers: peersTable, settings: peersSettingsTable },
};

/**
 * Measures one model.
 * @param scratch an empty folder for the texts and the checkpoints
 * @throws {Error} if a program fails, or if `pare eval` and transformers disagree
 */
async function benchPeers(
  { model, runs: wanted, trialFolder }: PeersModel,
  scratch: string,
  options: PeersOptions,
): Promise<PeersResult & { readonly versions: Versions }> {
  const { name, folder, seqlen, calibrationWindows: samples, evaluationWindows } = model;
  const texts = await model.textFiles(scratch), tokens = await model.tokens();
  const windowsFile = `${scratch}/calibration.json`, evaluationFile = `${scratch}/evaluation.json`;
  await writeWindows(windowsFile, calibrationWindows(tokens.calibration, { windows: samples, seqlen }));
  await writeWindows(evaluationFile, firstWindows(tokens.evaluation, evaluationWindows, seqlen));

  const calibration = { folder, text: texts.calibration, samples, seqlen, windowsFile };
  const { best: setting, trials } = await chooseSetting(
    { ...calibration, folder: trialFolder },
    `${scratch}/trial`,
    options.log,
  );

  const each = wanted.flatMap((run): Pick<TimedRun, "run" | "products">[] =>
    run.program === "Pare" ? options.products.map((products) => ({ run, products })) : [{ run }]
  );
  const timed = each.map((entry, i): TimedRun => ({ ...entry, out: `${scratch}/run${i}`, costs: [] }));
  const versions = await timeRuns(timed, calibration, setting, options);

  const [dense, ...perplexities] = await parePerplexities(
    [folder, ...timed.map(({ out }) => out)],
    texts.evaluation,
    { seqlen, windows: evaluationWindows, backend: options.backend },
  );
  const measured = timed.map(({ run, out }, i) => (
    { title: `${name} by ${run.program}, ${run.title}`, folder: out, perplexity: perplexities[i], run }
  ));
  const firsts = (["Pare", "llm-compressor"] as const).map((program) =>
    measured.find(({ run }) => run.program === program)!
  );
  const checks = await checkPerplexities(
    [{ title: `${name}, dense`, folder, perplexity: dense }, ...firsts],
    evaluationFile,
    setting,
  );
  const runs: RunResult[] = [];
  for (const [i, { run, products, out, costs, restored }] of timed.entries()) {
    runs.push({
      run,
      ...(products?.library !== undefined && { library: products.library }),
      perplexity: perplexities[i],
      ...summarize(costs),
      ...await countZeros(out),
      restored,
    });
  }
  const windows = { seqlen, calibrationWindows: samples, evaluationWindows };
  return { name, ...windows, dense, checks, runs, setting: setting.title, trials, versions };
}

/** Runs llm-compressor once in each setting of threads, and returns the fastest setting. */
async function chooseSetting(
  calibration: Calibration,
  out: string,
  log: PeersOptions["log"],
): Promise<Choice<ThreadSetting>> {
  return await chooseFastest(threadSettings(), ({ title }) => title, async (setting) => {
    const { compressSeconds } = await runLlmCompressor(TRIAL, calibration, out, setting);
    await Deno.remove(out, { recursive: true });
    return compressSeconds;
  }, ({ title, seconds }) => log(`trial of llm-compressor, ${title}: ${seconds.toFixed(2)} s`));
}

/**
 * Measures the checkpoints with transformers as well.
 * @throws {Error} if the perplexity of a checkpoint differs from that of `pare eval` by more than 0.1 percent
 */
async function checkPerplexities(
  checkpoints: readonly MeasuredCheckpoint[],
  windowsFile: string,
  setting: ThreadSetting,
): Promise<PerplexityCheck[]> {
  const folders = checkpoints.map(({ folder }) => folder);
  const theirs = await transformersPerplexities(folders, windowsFile, setting);
  return checkpoints.map(({ title, perplexity }, i) => {
    const check = { checkpoint: title, pare: perplexity, transformers: theirs[i] };
    requireSamePerplexity(check);
    return check;
  });
}

/**
 * Makes all repetitions of all runs, and adds the time and memory to the entries of `timed`. The checkpoints
 * of the last repetition stay in their folders.
 */
async function timeRuns(
  timed: readonly TimedRun[],
  calibration: Calibration,
  setting: ThreadSetting,
  { repeat, backend: choice, log }: Omit<PeersOptions, "products">,
): Promise<Versions> {
  let versions: Versions = {};
  for (let round = 0; round < repeat; round++) {
    for (const entry of timed) {
      const { run, products, out, costs } = entry;
      if (round > 0) await Deno.remove(out, { recursive: true });
      if (run.program === "Pare") {
        costs.push(await runPare(run, calibration, out, choice, products));
      } else {
        const { changed, ...output } = await runLlmCompressor(run, calibration, out, setting);
        versions = output.versions;
        entry.restored = changed;
        costs.push(output);
      }
      const { compressSeconds, processSeconds } = costs[round];
      const seconds = `${compressSeconds.toFixed(2)} of ${processSeconds.toFixed(2)} s`;
      const title = [run.program, products?.library, run.target, run.title].filter(Boolean).join(", ");
      log(`${round + 1}/${repeat} ${title}: ${seconds}`);
    }
  }
  return versions;
}

function summarize(costs: readonly RunCost[]): RunCost {
  return {
    compressSeconds: median(costs.map(({ compressSeconds }) => compressSeconds)),
    processSeconds: median(costs.map(({ processSeconds }) => processSeconds)),
    peakBytes: Math.max(...costs.map(({ peakBytes }) => peakBytes)),
  };
}

/** Returns the first `count` windows of `seqlen` tokens. `pare eval --windows COUNT` measures the same windows. */
function firstWindows(tokens: Uint32Array, count: number, seqlen: number): Uint32Array[] {
  return Array.from({ length: count }, (_, i) => tokens.subarray(i * seqlen, (i + 1) * seqlen));
}

async function writeWindows(file: string, windows: readonly Uint32Array[]): Promise<void> {
  await Deno.writeTextFile(file, JSON.stringify(windows.map((window) => [...window])));
}

/** A model, the runs that are made on it, and the checkpoint on which the settings of the peer are tried. */
interface PeersModel {
  readonly model: BenchedModel;
  readonly runs: readonly PeerRun[];
  readonly trialFolder: string;
}

interface LazyPeersModel {
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
async function listPeersModels(log: (text: string) => void): Promise<LazyPeersModel[]> {
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

/** The measurements of one run. The times are medians over the repetitions. The memory is the maximum over the repetitions. */
export interface RunResult extends RunCost, ZeroCount {
  readonly run: PeerRun;
  /** The library that multiplied matrices for Pare. Absent if Pare's own kernels did, and for llm-compressor. */
  readonly library?: string;
  readonly perplexity: number;
  /**
   * The number of weight tensors outside the linear layers that llm-compressor changed. They were restored
   * before the perplexity was measured. Absent for Pare.
   */
  readonly restored?: number;
}

/** The perplexity of one checkpoint, measured by `pare eval` and by the library transformers. */
interface PerplexityCheck {
  readonly checkpoint: string;
  readonly pare: number;
  readonly transformers: number;
}

export interface PeersResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  readonly dense: number;
  readonly checks: readonly PerplexityCheck[];
  readonly runs: readonly RunResult[];
  /** The setting of threads of llm-compressor. It was the fastest one in the trials. */
  readonly setting?: string;
  /** The short runs that chose the setting. Their times are those of calibrating and solving. */
  readonly trials?: readonly Trial[];
}

/** The measurements of all models, and the settings that they share. */
export interface PeersResults {
  readonly repeat: number;
  /** The build of PyTorch that llm-compressor ran with. */
  readonly build?: TorchBuild;
  /** The other builds on the machine, which llm-compressor cannot use. */
  readonly unusable?: readonly UnusableBuild[];
  /**
   * The largest one-minute load average of the machine. It was read after every run. With two threads it is
   * about 2 if no other programs run.
   */
  readonly loadAverage: number;
  /** The versions of Python and of the libraries that llm-compressor runs with. */
  readonly versions: Readonly<Record<string, string>>;
  readonly models: readonly PeersResult[];
}

/** The largest allowed relative difference between the perplexities of `pare eval` and transformers. */
const TOLERANCE = 1e-3;

/** Compares two perplexities of a checkpoint. @throws {Error} if the two perplexities differ by more than 0.1 percent */
export function requireSamePerplexity({ checkpoint, pare, transformers }: PerplexityCheck): void {
  // The condition is negated, so that a perplexity of NaN also throws.
  if (!(Math.abs(pare / transformers - 1) <= TOLERANCE)) {
    throw new Error(
      `${checkpoint}: pare eval measures a perplexity of ${pare}, but transformers measures ${transformers}`,
    );
  }
}

/** One row of the table: a run on a model. */
interface PeersRow {
  readonly model: PeersResult;
  readonly entry: RunResult;
  /** Whether this is the model's first row. Only the first row names the model. */
  readonly isFirst: boolean;
  /** Whether this is the first row with this target. Only the first row shows the target. */
  readonly isFirstOfTarget: boolean;
}

const MIB = 2 ** 20;

const COLUMNS: readonly Column<PeersRow>[] = [
  [
    "model (dense perplexity)",
    ({ model, isFirst }) => isFirst ? `${model.name} (${formatPerplexity(model.dense)})` : "",
  ],
  ["target", ({ entry, isFirstOfTarget }) => isFirstOfTarget ? entry.run.target : ""],
  ["program", ({ entry }) => entry.run.program],
  ["method", ({ entry }) => entry.run.title],
  ["products", ({ entry }) => entry.run.program === "Pare" ? formatProducts(entry) : NOT_MEASURED],
  ["perplexity", ({ entry: { perplexity } }) => formatPerplexity(perplexity)],
  ["zeros", ({ entry: { zeros, weights } }) => `${(100 * zeros / weights).toFixed(2)} %`],
  ["compress s", ({ entry: { compressSeconds } }) => compressSeconds.toFixed(2)],
  ["× llm-compressor", ({ model, entry }) => speedup(model, entry)?.toFixed(2) ?? NOT_MEASURED],
  ["process s", ({ entry: { processSeconds } }) => processSeconds.toFixed(2)],
  ["memory MiB", ({ entry: { peakBytes } }) => (peakBytes / MIB).toFixed(0)],
];

/** Returns the time of llm-compressor's run with the same work divided by the time of Pare's run, if there is such a run. */
export function speedup(
  { runs }: Pick<PeersResult, "runs">,
  { run, compressSeconds }: RunResult,
): number | undefined {
  if (run.program !== "Pare" || run.counterpart === undefined) return undefined;
  const peer = runs.find(({ run: other }) =>
    other.program === "llm-compressor" && other.recipe === run.counterpart
  );
  return peer && peer.compressSeconds / compressSeconds;
}

/**
 * Renders one row per model, run and way to multiply matrices. The lines below the table show the versions, the
 * settings of llm-compressor, and the builds of PyTorch that it cannot use.
 */
export function peersTable(
  { models, versions, build, unusable = [], repeat, loadAverage }: PeersResults,
): string {
  const rows = models.flatMap((model) =>
    model.runs.map((entry, i): PeersRow => ({
      model,
      entry,
      isFirst: i === 0,
      isFirstOfTarget: entry.run.target !== model.runs[i - 1]?.run.target,
    }))
  );
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const settings = models.flatMap(({ name, setting }) => setting ? [`${name}: ${setting}`] : []).join("; ");
  return [
    markdownTable(COLUMNS, rows),
    "",
    `Peers: ${libraries}. Repetitions: ${repeat}. Largest load average: ${loadAverage.toFixed(1)}.`,
    ...(build ? [`${describeBuilds([build])} Threads of llm-compressor: ${settings}.`] : []),
    ...unusable.map(({ build, reason }) => `Not tried: ${build}, because ${reason}.`),
  ].join("\n");
}

/** Renders one row per setting of threads of llm-compressor and one column per model: the seconds of the trials. */
export function peersSettingsTable({ models }: PeersResults): string {
  return trialsTable(models.map(({ name: title, trials = [] }) => ({ title, trials })));
}
