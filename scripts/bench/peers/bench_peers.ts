/**
 * Compresses one model by Pare and by llm-compressor, once for every run, and measures the results. Pare makes
 * each of its runs once for each way to multiply matrices. llm-compressor runs in the setting of threads that was
 * fastest in a trial. Every run writes a dense checkpoint, and `pare eval` measures the perplexity of each checkpoint.
 * The library transformers also measures the original model and the first checkpoint of each program. The
 * bench fails if the two perplexities of a checkpoint differ by more than 0.1 percent.
 */

import { calibrationWindows } from "../../../src/calibration/windows.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import type { MatrixProducts } from "../measure/matrix_products.ts";
import { median } from "../measure/statistics.ts";
import { type Choice, chooseFastest } from "../torch/choose_fastest.ts";
import { type ThreadSetting, threadSettings } from "../torch/thread_settings.ts";
import { countZeros } from "./count_zeros.ts";
import {
  type PeersResult,
  type PerplexityCheck,
  requireSamePerplexity,
  type RunResult,
} from "./peers_result.ts";
import {
  type Calibration,
  parePerplexities,
  type RunCost,
  runLlmCompressor,
  runPare,
  transformersPerplexities,
} from "./programs.ts";
import type { PeersModel } from "./models.ts";
import type { PeerRun } from "./runs.ts";

/** The settings of the bench. */
export interface PeersOptions {
  readonly backend: BackendChoice;
  /** The number of repetitions. Each repetition makes all runs, one after the other. */
  readonly repeat: number;
  /** The ways in which Pare multiplies matrices. */
  readonly products: readonly MatrixProducts[];
  readonly log: (text: string) => void;
}

/** The versions that llm-compressor reported about itself and its libraries. */
export type Versions = Readonly<Record<string, string>>;

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
  /** The name of the checkpoint in messages. */
  readonly title: string;
  readonly folder: string;
  readonly perplexity: number;
}

/**
 * Measures one model.
 * @param scratch an empty folder for the texts and the checkpoints
 * @throws {Error} if a program fails, or if `pare eval` and transformers disagree
 */
export async function benchPeers(
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
        costs.push(await runPare(run, calibration, out, choice, products?.blas));
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

/**
 * Returns the first `count` windows of `seqlen` tokens. `pare eval --windows COUNT` measures the same
 * windows.
 */
function firstWindows(tokens: Uint32Array, count: number, seqlen: number): Uint32Array[] {
  return Array.from({ length: count }, (_, i) => tokens.subarray(i * seqlen, (i + 1) * seqlen));
}

async function writeWindows(file: string, windows: readonly Uint32Array[]): Promise<void> {
  await Deno.writeTextFile(file, JSON.stringify(windows.map((window) => [...window])));
}
