/**
 * Compresses models by Pare and by llm-compressor, once for every run, and measures the results. Pare makes each of its runs
 * twice: with its own kernels, and without an option that says what multiplies matrices, as a user does. llm-compressor runs in the
 * dtype and the setting of threads that were fastest in a trial. Every run writes a dense checkpoint, and `pare eval` measures the perplexity of each checkpoint.
 * `tests/peers` compares such perplexities with those of transformers.
 */

import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import type { Bench } from "./bench.ts";
import { integer } from "../../src/cli/options/common_options.ts";
import type { BackendChoice } from "../../src/host/backends.ts";
import { peersSkipReason, VENVS } from "../peers/venv.ts";
import { countZeros } from "./llm_compressor/count_zeros.ts";
import { listPeersModels, type PeersModel, RANDOM_NAMES } from "./llm_compressor/models.ts";
import {
  type Calibration,
  parePerplexities,
  type PeerSetting,
  peerSettings,
  type RunCost,
  runLlmCompressor,
  runPare,
  writeWindows,
} from "./llm_compressor/programs.ts";
import type { PeersResult, PeersResults, RunResult } from "./llm_compressor/results.ts";
import type { PeerRun } from "./llm_compressor/runs.ts";
import { peersSettingsTable, peersTable } from "./llm_compressor/tables.ts";
import { openDevice } from "./measure/matrix_products.ts";
import { median } from "./measure/statistics.ts";
import { type Choice, chooseFastest } from "./torch/choose_fastest.ts";
import { removeKernelOverrides } from "./torch/peer_environment.ts";
import { describeTorch } from "./torch/torch_builds.ts";

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
  readonly title: NonNullable<RunResult["way"]>;
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
  /** The number of weights outside the blocks that llm-compressor changed and its script restored. */
  restored?: number;
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
        "comma-separated names of models; those that are not on this machine are skipped. " +
          `${RANDOM_NAMES.join(", ")} have random weights`,
        ["opt-sotu,llama-sotu,stories260K", ...RANDOM_NAMES].join(","),
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
    // A GPU multiplies in one way only.
    const device = await openDevice(backend, { products: "own", precision: "float32" });
    const ways = device.backend === "cpu" ? [OWN_KERNELS, DEFAULT] : [DEFAULT];
    const build = (await describeTorch(VENVS["llm-compressor"].python))?.build;
    const wanted = new Set(names.split(","));
    const others = add ? earlier?.models.filter((model) => !wanted.has(model.name)) ?? [] : [];
    let results: PeersResults = { repeat, build, loadAverage, versions: {}, models: others };
    for (const lazy of (await listPeersModels(log)).filter(({ name }) => wanted.has(name))) {
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
 * @throws {Error} if a program fails
 */
async function benchPeers(
  { model, runs: wanted, trialFolder }: PeersModel,
  scratch: string,
  options: PeersOptions,
): Promise<PeersResult & { readonly versions: Versions }> {
  const { name, folder, seqlen, calibrationWindows: samples, evaluationWindows } = model;
  const texts = await model.textFiles(scratch), tokens = await model.tokens();
  const windowsFile = `${scratch}/calibration.json`;
  const windows = calibrationWindows(tokens.calibration, { windows: samples, seqlen });
  await writeWindows(windowsFile, windows);
  const trialFile = `${scratch}/trial.json`;
  await writeWindows(trialFile, windows.slice(0, TRIAL_WINDOWS));

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
  return { name, ...counts, dense, runs, setting: setting.title, trials, versions };
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
