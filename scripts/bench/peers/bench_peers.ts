/**
 * Compresses one model by every run of `runs.ts` and measures the results. Every output is a dense checkpoint, and `pare eval` measures
 * the perplexity of all of them. The perplexities of the dense model and of the first output of each program are also computed by
 * transformers, and the bench fails if they differ.
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
  /** The number of repetitions. In each repetition, all runs follow each other. */
  readonly repeat: number;
  /** The threads of OpenMP in the processes of Python. */
  readonly threads: number;
  readonly log: (text: string) => void;
}

/** The programs as they described themselves during their runs. */
export interface Programs {
  readonly backend: string;
  readonly adapter: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** A run, the folder of its checkpoint, and what its repetitions have cost so far. */
interface TimedRun {
  readonly run: PeerRun;
  readonly out: string;
  readonly costs: RunCost[];
  restored?: number;
}

/** A checkpoint with the perplexity that `pare eval` measures. */
interface MeasuredCheckpoint {
  /** The name of the checkpoint in messages. */
  readonly title: string;
  readonly folder: string;
  readonly perplexity: number;
}

/**
 * Measures one model. `scratch` is an empty folder for the texts and the checkpoints.
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

/** @throws {Error} if transformers measures another perplexity for one of the checkpoints */
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

/** Makes all repetitions. The checkpoints of the last repetition stay in their folders. */
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

/** Returns the windows that `pare eval --windows COUNT` measures. */
function firstWindows(tokens: Uint32Array, count: number, seqlen: number): Uint32Array[] {
  return Array.from({ length: count }, (_, i) => tokens.subarray(i * seqlen, (i + 1) * seqlen));
}

async function writeWindows(file: string, windows: readonly Uint32Array[]): Promise<void> {
  await Deno.writeTextFile(file, JSON.stringify(windows.map((window) => [...window])));
}
