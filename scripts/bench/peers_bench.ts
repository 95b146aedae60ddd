/**
 * Compresses models by Pare and by llm-compressor, once for every run, and measures the results. Pare makes each of its runs
 * twice: with its own kernels, and without an option that says what multiplies matrices, as a user does. llm-compressor runs in the
 * dtype and the setting of threads that were fastest in a trial. Every run writes a dense checkpoint, and `pare eval` measures the perplexity of each checkpoint.
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
  type PeerSetting,
  peerSettings,
  type RunCost,
  runLlmCompressor,
  runPare,
  transformersPerplexities,
} from "./llm_compressor/programs.ts";
import { type PeerRun, RUNS } from "./llm_compressor/runs.ts";
import { formatProducts, matrixProducts } from "./measure/matrix_products.ts";
import { RANDOM_MODELS, type RandomModel } from "./measure/random_models.ts";
import { median } from "./measure/statistics.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";
import { type Choice, chooseFastest, type Trial, trialsTable } from "./torch/choose_fastest.ts";
import { removeKernelOverrides } from "./torch/peer_environment.ts";
import { describeBuilds, type TorchBuild } from "./torch/torch_builds.ts";

interface PeersOptions {
  readonly backend: BackendChoice;
  /** The number of repetitions. Each repetition makes all runs, one after the other. */
  readonly repeat: number;
  readonly ways: readonly PareWay[];
  /** Prints a line. It is called after every run. */
  readonly log: (text: string) => void;
}

/** The versions that llm-compressor reported about itself and its libraries. */
type Versions = Readonly<Record<string, string>>;

/** How Pare chooses what multiplies matrices. */
interface PareWay {
  readonly title: "own kernels" | "default";
  /** The options of `pare prune`. */
  readonly options: readonly string[];
}

const OWN_KERNELS: PareWay = {
  title: "own kernels",
  options: ["--products", "own", "--precision", "float32"],
};
const DEFAULT: PareWay = { title: "default", options: [] };

/** The recipe with which the settings of llm-compressor are tried. */
const TRIAL = { recipe: "sparsegpt" };

/** The largest number of calibration windows of a trial. More windows take longer and do not change which setting is the fastest. */
const TRIAL_WINDOWS = 16;

/** A run, the folder of its checkpoint, and the time and memory of each repetition so far. */
interface TimedRun {
  readonly run: PeerRun;
  /** Absent for llm-compressor. */
  readonly way?: PareWay;
  readonly out: string;
  readonly costs: RunCost[];
  /** The library that multiplied matrices for Pare. */
  library?: string;
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
  readonly blocks?: number;
  readonly add?: boolean;
}

export const bench: Bench<PeersBenchOptions, PeersResults> = {
  description: "`pare prune` of whole models, beside llm-compressor, by perplexity, seconds and memory",
  options: (command) =>
    command
      .option(
        "--models <list>",
        "comma-separated names of models; those that are not on this machine are skipped. " +
          `${RANDOM_NAMES.join(", ")} have random weights`,
        ["opt-sotu,llama-sotu,stories260K", ...RANDOM_NAMES].join(","),
      )
      .option("--blocks <n>", "give models with random weights only n blocks, to try the bench", integer(1))
      .option("--repeat <n>", "repetitions of each run", integer(1), 3)
      .option("--add", "keep the other models of the results file"),
  async measure({ models: names, backend, repeat, blocks, add }, { earlier, save }) {
    const reason = await peersSkipReason(VENVS["llm-compressor"]);
    if (reason !== undefined) throw new Error(`bench peers: ${reason}`);
    let loadAverage = 0;
    const log = (text: string) => {
      loadAverage = Math.max(loadAverage, Deno.loadavg()[0]);
      console.error(text);
    };
    removeKernelOverrides();
    // A GPU multiplies in one way only.
    const [{ device }] = await matrixProducts(backend, []);
    const ways = device.backend === "cpu" ? [OWN_KERNELS, DEFAULT] : [DEFAULT];
    const { usable: build, unusable } = await findPeerBuilds();
    const wanted = new Set(names.split(","));
    const others = add ? earlier?.models.filter((model) => !wanted.has(model.name)) ?? [] : [];
    let results: PeersResults = { repeat, build, unusable, loadAverage, versions: {}, models: others };
    for (const lazy of (await listPeersModels(log, blocks)).filter(({ name }) => wanted.has(name))) {
      const scratch = await Deno.makeTempDir({ prefix: "pare-peers-" });
      try {
        log(lazy.name);
        const model = await lazy.prepare(scratch);
        const { versions, ...result } = await benchPeers(model, scratch, { backend, ways, repeat, log });
        results = { ...results, loadAverage, versions, models: [...results.models, result] };
        await save(device, results);
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
  const windows = calibrationWindows(tokens.calibration, { windows: samples, seqlen });
  await writeWindows(windowsFile, windows);
  const trialFile = `${scratch}/trial.json`;
  await writeWindows(trialFile, windows.slice(0, TRIAL_WINDOWS));
  await writeWindows(evaluationFile, firstWindows(tokens.evaluation, evaluationWindows, seqlen));

  const calibration = { folder, text: texts.calibration, samples, seqlen, windowsFile };
  const { best: setting, trials } = await chooseSetting(
    { ...calibration, folder: trialFolder, windowsFile: trialFile },
    `${scratch}/trial`,
    options.log,
  );

  const each = wanted.flatMap((run): Pick<TimedRun, "run" | "way">[] =>
    run.program === "Pare" ? options.ways.map((way) => ({ run, way })) : [{ run }]
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
  for (const [i, { run, way, library, out, costs, restored }] of timed.entries()) {
    runs.push({
      run,
      ...(way && { way: way.title }),
      ...(library !== undefined && { library }),
      perplexity: perplexities[i],
      ...summarize(costs),
      ...await countZeros(out),
      restored,
    });
  }
  const counts = { seqlen, calibrationWindows: samples, evaluationWindows };
  return { name, ...counts, dense, checks, runs, setting: setting.title, trials, versions };
}

/** Runs llm-compressor once in each dtype and setting of threads, and returns the fastest combination. */
async function chooseSetting(
  calibration: Calibration,
  out: string,
  log: PeersOptions["log"],
): Promise<Choice<PeerSetting>> {
  return await chooseFastest(peerSettings(), ({ title }) => title, async (setting) => {
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
  setting: PeerSetting,
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
  setting: PeerSetting,
  { repeat, backend, log }: Omit<PeersOptions, "ways">,
): Promise<Versions> {
  let versions: Versions = {};
  for (let round = 0; round < repeat; round++) {
    for (const entry of timed) {
      const { run, way, out, costs } = entry;
      if (round > 0) await Deno.remove(out, { recursive: true });
      if (run.program === "Pare") {
        const { library, ...cost } = await runPare(run, calibration, out, [
          ...["--backend", backend],
          ...way?.options ?? [],
        ]);
        entry.library = library;
        costs.push(cost);
      } else {
        const { changed, ...output } = await runLlmCompressor(run, calibration, out, setting);
        versions = output.versions;
        entry.restored = changed;
        costs.push(output);
      }
      const { compressSeconds, processSeconds } = costs[round];
      const seconds = `${compressSeconds.toFixed(2)} of ${processSeconds.toFixed(2)} s`;
      const title = [run.program, way?.title, run.target, run.title].filter(Boolean).join(", ");
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

/** Models whose blocks are so narrow that more calibration windows fit into a bench. */
const MORE_WINDOWS: Readonly<Record<string, number>> = { narrow: 64 };

/**
 * The trials of a model with random weights run on one of so many of its blocks. With fewer blocks, the product with the head, which
 * llm-compressor computes once, would take most of the time.
 */
const BLOCKS_PER_TRIAL_BLOCK = 6;

const RANDOM_NAMES = Object.keys(RANDOM_MODELS);

/** The runs on models with random weights. Only SparseGPT runs, because only its time and memory are of interest there. */
const RANDOM_RUNS = RUNS.filter(({ target, title }) => target === "50 %" && title.startsWith("SparseGPT"));

/**
 * Lists the models that exist on this machine or can be made on it. A missing third-party model is reported to `log`.
 * @param blocks the number of blocks of the models with random weights, by default that of the public models
 */
async function listPeersModels(log: (text: string) => void, blocks?: number): Promise<LazyPeersModel[]> {
  const trained = (await listModels(log)).map((model): LazyPeersModel => ({
    name: model.name,
    prepare: () => Promise.resolve({ model, runs: RUNS, trialFolder: model.folder }),
  }));
  return [...trained, ...Object.values(RANDOM_MODELS).map((model) => lazyRandomModel(model, blocks))];
}

function lazyRandomModel(
  { name, blocks: allBlocks, write }: RandomModel,
  blocks = allBlocks,
): LazyPeersModel {
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

/** The measurements of one run. The times are medians over the repetitions. The memory is the maximum over the repetitions. */
export interface RunResult extends RunCost, ZeroCount {
  readonly run: PeerRun;
  /** How Pare chose what multiplies matrices. Absent for llm-compressor. */
  readonly way?: PareWay["title"];
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
  [
    "setting",
    ({ model, entry }) => entry.run.program === "Pare" ? wayTitle(entry) : model.setting ?? NOT_MEASURED,
  ],
  ["perplexity", ({ entry: { perplexity } }) => formatPerplexity(perplexity)],
  ["zeros", ({ entry: { zeros, weights } }) => `${(100 * zeros / weights).toFixed(2)} %`],
  ["compress s", ({ entry: { compressSeconds } }) => compressSeconds.toFixed(2)],
  ["× peer's best", ({ model, entry }) => formatTimes(compareWithPeer(model, entry)?.speedup)],
  ["process s", ({ entry: { processSeconds } }) => processSeconds.toFixed(2)],
  [
    "× peer's best, process",
    ({ model, entry }) => formatTimes(compareWithPeer(model, entry)?.processSpeedup),
  ],
  ["memory MiB", ({ entry: { peakBytes } }) => (peakBytes / MIB).toFixed(0)],
  ["of the peer's", ({ model, entry }) => formatShare(compareWithPeer(model, entry)?.memoryShare)],
];

function wayTitle({ way, library }: RunResult): string {
  return way === "default" ? `default: ${formatProducts({ library })}` : formatProducts({ library });
}

function formatTimes(factor?: number): string {
  return factor?.toFixed(2) ?? NOT_MEASURED;
}

function formatShare(share?: number): string {
  return share === undefined ? NOT_MEASURED : `${(100 * share).toFixed(0)} %`;
}

/** A run of Pare beside llm-compressor's run with the same work. */
interface PeerComparison {
  /** llm-compressor's time of calibrating and solving divided by Pare's. */
  readonly speedup: number;
  /** The same with the times of the whole processes. */
  readonly processSpeedup: number;
  /** Pare's peak memory divided by llm-compressor's. */
  readonly memoryShare: number;
}

/** Compares a run of Pare with llm-compressor's run with the same work. Returns undefined if there is no such run. */
export function compareWithPeer(
  { runs }: Pick<PeersResult, "runs">,
  { run, compressSeconds, processSeconds, peakBytes }: RunResult,
): PeerComparison | undefined {
  if (run.program !== "Pare" || run.counterpart === undefined) return undefined;
  const peer = runs.find(({ run: other }) =>
    other.program === "llm-compressor" && other.recipe === run.counterpart
  );
  return peer && {
    speedup: peer.compressSeconds / compressSeconds,
    processSpeedup: peer.processSeconds / processSeconds,
    memoryShare: peakBytes / peer.peakBytes,
  };
}

/**
 * Renders one row per model, run and setting. The lines below the table show the versions, the
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
    ...(build ? [`${describeBuilds([build])} Fastest settings of llm-compressor: ${settings}.`] : []),
    ...models.map((model) => `${model.name}: llm-compressor was tried in ${triedDtypes(model)}.`),
    ...unusable.map(({ build, reason }) => `Not tried: ${build}, because ${reason}.`),
  ].join("\n");
}

/** Names the dtypes in which llm-compressor was tried. Results from before the trials in bfloat16 have float32 only. */
export function triedDtypes({ trials = [] }: Pick<PeersResult, "trials">): string {
  const tried = PRECISIONS.filter((dtype) => trials.some(({ title }) => title.startsWith(dtype)));
  return tried.length === 0 ? "float32 only" : tried.join(" and ");
}

/** Renders one row per setting of llm-compressor and one column per model: the seconds of the trials. */
export function peersSettingsTable({ models }: PeersResults): string {
  return trialsTable(models.map(({ name: title, trials = [] }) => ({ title, trials })));
}
