/**
 * Compresses one model by Pare and by llm-compressor, once for every run in `runs.ts`, and measures the
 * results. Every run writes a dense checkpoint, and `pare eval` measures the perplexity of each checkpoint.
 * The library transformers also measures the original model and the first checkpoint of each program. The
 * bench fails if the two perplexities of a checkpoint differ by more than 0.1 percent.
 */

import { calibrationWindows } from "../../../src/calibration/windows.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import type { BenchedModel } from "../families/models.ts";
import { median } from "../measure/statistics.ts";
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
import { type PeerRun, RUNS } from "./runs.ts";

/** The settings of the bench. */
export interface PeersOptions {
  readonly backend: BackendChoice;
  /** The number of repetitions. Each repetition makes all runs, one after the other. */
  readonly repeat: number;
  /** The number of OpenMP threads in each Python process. */
  readonly threads: number;
  readonly log: (text: string) => void;
}

/** The facts that the programs reported about themselves during their runs. */
export interface Programs {
  readonly backend: string;
  readonly adapter: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** A run, the folder of its checkpoint, and the time and memory of each repetition so far. */
interface TimedRun {
  readonly run: PeerRun;
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
  model: BenchedModel,
  scratch: string,
  options: PeersOptions,
): Promise<PeersResult & { readonly programs: Programs }> {
  const { name, folder, seqlen, calibrationWindows: samples, evaluationWindows } = model;
  const texts = await model.textFiles(scratch), tokens = await model.tokens();
  const windowsFile = `${scratch}/calibration.json`, evaluationFile = `${scratch}/evaluation.json`;
  await writeWindows(windowsFile, calibrationWindows(tokens.calibration, { windows: samples, seqlen }));
  await writeWindows(evaluationFile, firstWindows(tokens.evaluation, evaluationWindows, seqlen));

  const timed = RUNS.map((run, i): TimedRun => ({ run, out: `${scratch}/run${i}`, costs: [] }));
  const programs = await timeRuns(
    timed,
    { folder, text: texts.calibration, samples, seqlen, windowsFile },
    options,
  );

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
    options.threads,
  );
  const runs: RunResult[] = [];
  for (const [i, { run, out, costs, restored }] of timed.entries()) {
    runs.push({ run, perplexity: perplexities[i], ...summarize(costs), ...await countZeros(out), restored });
  }
  return { name, seqlen, calibrationWindows: samples, evaluationWindows, dense, checks, runs, programs };
}

/**
 * Measures the checkpoints with transformers as well.
 * @throws {Error} if the perplexity of a checkpoint differs from that of `pare eval` by more than 0.1 percent
 */
async function checkPerplexities(
  checkpoints: readonly MeasuredCheckpoint[],
  windowsFile: string,
  threads: number,
): Promise<PerplexityCheck[]> {
  const folders = checkpoints.map(({ folder }) => folder);
  const theirs = await transformersPerplexities(folders, windowsFile, threads);
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
  { repeat, backend: choice, threads, log }: PeersOptions,
): Promise<Programs> {
  let programs: Programs = { backend: "", adapter: "", versions: {} };
  for (let round = 0; round < repeat; round++) {
    for (const entry of timed) {
      const { run, out, costs } = entry;
      if (round > 0) await Deno.remove(out, { recursive: true });
      if (run.program === "Pare") {
        const { backend, adapter, ...cost } = await runPare(run, calibration, out, choice);
        programs = { ...programs, backend, adapter };
        costs.push(cost);
      } else {
        const { versions, changed, ...cost } = await runLlmCompressor(run, calibration, out, threads);
        programs = { ...programs, versions };
        entry.restored = changed;
        costs.push(cost);
      }
      const { compressSeconds, processSeconds } = costs[round];
      const seconds = `${compressSeconds.toFixed(2)} of ${processSeconds.toFixed(2)} s`;
      log(`${round + 1}/${repeat} ${run.program}, ${run.target}, ${run.title}: ${seconds}`);
    }
  }
  return programs;
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
