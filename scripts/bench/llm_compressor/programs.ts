/** Runs Pare and llm-compressor, each in a process of its own, and reads their reports. */

import { fileURLToPath } from "node:url";
import { type BackendChoice, type Precision, PRECISIONS } from "../../../src/host/backends.ts";
import { VENVS } from "../../peers/venv.ts";
import { type MeasuredProcess, measureProcess } from "../../processes/measure_process.ts";
import { pareProcess } from "../../processes/pare_process.ts";
import { peerEnvironment } from "../torch/peer_environment.ts";
import { type ThreadSetting, threadSettings } from "../torch/thread_settings.ts";
import { RUN_REPORT_FILE } from "../../../src/prune/report/file_names.ts";
import { runReportSchema } from "../../../src/prune/report/run_report.ts";
import { pruneOptions } from "../measure/targets.ts";
import type { LlmCompressorRun, PareRun } from "./runs.ts";

const LLM_COMPRESSOR = fileURLToPath(new URL("../python/llm_compressor.py", import.meta.url));

/** A model, and the calibration data that all programs get. */
export interface Calibration {
  readonly folder: string;
  /** The path of the calibration text. Pare takes windows of `seqlen` tokens that start at equal distances. */
  readonly text: string;
  readonly samples: number;
  readonly seqlen: number;
  /** The path of a JSON file for llm-compressor, with the same windows as lists of token ids. */
  readonly windowsFile: string;
}

export interface RunCost {
  /** The seconds of calibrating and solving. */
  readonly compressSeconds: number;
  readonly processSeconds: number;
  /** The peak memory of the process, together with the processes that it starts. */
  readonly peakBytes: number;
}

/** A dtype in which llm-compressor loads a model, and a setting of threads. */
export interface PeerSetting extends ThreadSetting {
  readonly dtype: Precision;
}

/** Returns every combination of a dtype and a setting of threads, in which the trials run llm-compressor. */
export function peerSettings(threads: readonly ThreadSetting[] = threadSettings()): PeerSetting[] {
  return PRECISIONS.flatMap((dtype) =>
    threads.map((setting) => ({ ...setting, title: `${dtype}, ${setting.title}`, dtype }))
  );
}

/** The JSON object in the last line that `llm_compressor.py` prints. */
interface LlmCompressorOutput {
  readonly seconds: { readonly compress: number };
  readonly versions: Readonly<Record<string, string>>;
  readonly changed_others: readonly string[];
}

/** Runs `pare prune` with `options`, and returns its cost, the backend that it used, and the library that multiplied matrices. */
export async function runPare(
  { parameters }: Pick<PareRun, "parameters">,
  { folder, text, samples, seqlen }: Calibration,
  out: string,
  options: readonly string[],
): Promise<RunCost & { readonly library?: string }> {
  const windows = ["--calibration", text, "--samples", String(samples), "--seqlen", String(seqlen)];
  const measured = await pareProcess([
    ...["prune", folder, "--out", out, ...windows],
    ...[...pruneOptions(parameters), ...options],
  ]);
  const report = JSON.parse(await Deno.readTextFile(`${out}/${RUN_REPORT_FILE}`));
  const { seconds, adapter } = runReportSchema.parse(report);
  const library = / with (.+), /.exec(adapter)?.[1];
  return { ...cost(measured, seconds.calibration + seconds.layers), ...(library && { library }) };
}

/** Runs llm-compressor. Returns its cost, the versions, and the number of weights that it changed outside the blocks. */
export async function runLlmCompressor(
  { recipe }: Pick<LlmCompressorRun, "recipe">,
  { folder, windowsFile }: Pick<Calibration, "folder" | "windowsFile">,
  out: string,
  setting: PeerSetting,
): Promise<RunCost & { readonly versions: LlmCompressorOutput["versions"]; readonly changed: number }> {
  const measured = await pythonProcess(
    [LLM_COMPRESSOR, folder, windowsFile, out, recipe, setting.dtype],
    setting,
  );
  const output = lastLine<LlmCompressorOutput>(measured);
  return {
    ...cost(measured, output.seconds.compress),
    versions: output.versions,
    changed: output.changed_others.length,
  };
}

/** Writes calibration windows for {@link runLlmCompressor}. */
export async function writeWindows(file: string, windows: readonly Uint32Array[]): Promise<void> {
  await Deno.writeTextFile(file, JSON.stringify(windows.map((window) => [...window])));
}

/** Measures the perplexity of checkpoints by `pare eval`, in the order of `folders`. */
export async function parePerplexities(
  folders: readonly string[],
  text: string,
  { seqlen, windows, backend }: { seqlen: number; windows: number; backend: BackendChoice },
): Promise<number[]> {
  const [first, ...others] = folders;
  const measured = await pareProcess([
    ...["eval", first, ...others.flatMap((folder) => ["--compare", folder]), "--json"],
    ...["--text", text, "--seqlen", String(seqlen), "--windows", String(windows), "--backend", backend],
  ]);
  const { models } = lastLine<{ models: { texts: { perplexity: number }[] }[] }>(measured);
  return models.map(({ texts }) => texts[0].perplexity);
}

function pythonProcess(args: readonly string[], { variables }: ThreadSetting): Promise<MeasuredProcess> {
  return measureProcess({
    command: VENVS["llm-compressor"].python,
    args: ["-B", ...args],
    // All files are in local folders, so the libraries must not ask the model hub.
    env: peerEnvironment({ ...variables, HF_HUB_OFFLINE: "1" }),
  });
}

function cost({ seconds, peakBytes }: MeasuredProcess, compressSeconds: number): RunCost {
  return { compressSeconds, processSeconds: seconds, peakBytes };
}

/** Parses the last line that a program printed. */
export function lastLine<Output>({ stdout }: MeasuredProcess): Output {
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}
