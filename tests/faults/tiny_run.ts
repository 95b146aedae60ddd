/** A run of `pare prune` on a model so small that it takes seconds, and its undisturbed result. */

import { fileURLToPath } from "node:url";
import { sotuText } from "../../scripts/fixtures/sotu_text.ts";
import { makeRandomOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { require } from "./fault_kind.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** The sizes of the model. It has 24 layers to prune. */
export const TINY_SHAPE = { layers: 4, hidden: 64, heads: 4, ffn: 128, vocabulary: 2048, positions: 64 };
const TEXT_CHARACTERS = 20_000;

export interface Ended {
  readonly code: number;
  /** The signal that ended the process, if the process did not end by itself. */
  readonly signal: Deno.Signal | null;
  readonly stderr: string;
}

/** A process that prunes the model. */
export interface RunningPrune {
  readonly process: Deno.ChildProcess;
  /** The text on standard error so far. */
  printed(): string;
  readonly ended: Promise<Ended>;
}

/** The model, its undisturbed result, and a way to start runs. All files are removed at the end. */
export interface TinyRun extends AsyncDisposable {
  readonly folder: string;
  readonly model: string;
  /** The folder of the undisturbed result. */
  readonly expected: string;
  /** How long the undisturbed run took, in milliseconds. */
  readonly milliseconds: number;
  /** Starts a run that writes to `out`. */
  start(out: string, ...options: readonly string[]): RunningPrune;
}

/** Makes the model, and prunes it once without any fault. */
export async function makeTinyRun(): Promise<TinyRun> {
  const folder = await Deno.makeTempDir({ prefix: "pare-faults-" });
  const model = `${folder}/model`, text = `${folder}/text.txt`, expected = `${folder}/expected`;
  await makeRandomOpt(model, TINY_SHAPE);
  await Deno.writeTextFile(text, (await sotuText("calibration")).slice(0, TEXT_CHARACTERS));
  const start: TinyRun["start"] = (out, ...options) =>
    startPrune([
      ...["prune", model, "--out", out, "--calibration", text, "--method", "sparsegpt", "--backend", "cpu"],
      ...["--samples", "16", "--seqlen", "64", "--activations", "disk", ...options],
    ]);
  const started = performance.now(), { code, stderr } = await start(expected).ended;
  require(code === 0, `the undisturbed run failed with ${code}: ${stderr}`);
  const milliseconds = performance.now() - started;
  const remove = () => Deno.remove(folder, { recursive: true });
  return { folder, model, expected, milliseconds, start, [Symbol.asyncDispose]: remove };
}

function startPrune(args: readonly string[]): RunningPrune {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", MAIN, ...args],
    env: { NO_COLOR: "1", PARE_PROGRESS_SECONDS: "0" }, // the faults occur at certain layers
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let text = "";
  const ended = (async () => {
    for await (const piece of process.stderr.pipeThrough(new TextDecoderStream())) text += piece;
    const { code, signal } = await process.status;
    return { code, signal, stderr: text };
  })();
  return { process, printed: () => text, ended };
}

/** Sends a signal. Does nothing if the process has ended. */
export function sendSignal({ process }: RunningPrune, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // the process has ended
  }
}
