/**
 * Times the pruning of one whole model by Pare and by a PyTorch program in two forms, which are called the
 * references. In each round, Pare and then each reference prunes the model once. Before anything is timed,
 * one run of each is made and their losses are compared. This proves that all of them solve the same problem.
 *
 * Besides the medians, the fastest run of each program is reported. Other load on the machine only adds time.
 * The same load adds several times as much to PyTorch's time, because OpenBLAS's threads wait for each other.
 * On a busy machine the ratio of the medians is therefore too favourable to Pare.
 */

import type { BackendChoice } from "../../../src/host/backends.ts";
import { median } from "../measure/statistics.ts";
import { TorchProcess } from "../torch/torch_process.ts";
import { type ModelRun, requireSameProblem } from "./model_run.ts";
import { runPare } from "./run_pare.ts";

/**
 * The two forms of the PyTorch program `reference_model.py`: `published` does what the published script does,
 * and `shared` omits the products that the result does not need.
 */
export type ReferenceForm = "published" | "shared";

/** A checkpoint to prune and the text to calibrate it on. */
export interface ModelCase {
  readonly title: string;
  /** The folder of the checkpoint. */
  readonly folder: string;
  /** The token ids of each window. All windows have the same length. */
  readonly windows: readonly Uint32Array[];
}

/** The medians of one checkpoint. Times are in seconds. */
export interface ModelTiming {
  readonly title: string;
  /** How many layers were pruned. */
  readonly layers: number;
  /** How many calibration windows were used. */
  readonly windows: number;
  /** Tokens per window. */
  readonly seqlen: number;
  /** How many rounds were timed. */
  readonly runs: number;
  readonly seconds: ModelRun["seconds"];
  /** The total time of the fastest run. */
  readonly fastestSeconds: number;
  /** The result of each form of the reference. Empty if no Python with torch was found. */
  readonly references: Readonly<Partial<Record<ReferenceForm, ReferenceResult>>>;
}

/** The medians of one form of the reference, and its ratios to Pare. */
export interface ReferenceResult {
  readonly seconds: ModelRun["seconds"];
  /** The median, over the rounds, of the reference's time divided by Pare's. */
  readonly speedup: number;
  readonly fastestSeconds: number;
  /** The reference's fastest run divided by Pare's fastest run. */
  readonly fastestSpeedup: number;
}

const FORMS: readonly ReferenceForm[] = ["published", "shared"];

/**
 * Times `repeat` rounds, after one round that is checked but not timed. Without `python`, Pare is timed alone.
 * @throws {Error} if Pare and a reference solve different problems
 */
export async function benchModel(
  { title, folder, windows }: ModelCase,
  python: string | undefined,
  choice: BackendChoice,
  repeat: number,
): Promise<ModelTiming> {
  const scratch = await Deno.makeTempDir();
  await using processes = new AsyncDisposableStack();
  try {
    const windowsFile = `${scratch}/windows.json`;
    await Deno.writeTextFile(windowsFile, JSON.stringify(windows.map((window) => [...window])));
    const references = (python ? FORMS : []).map((form) => {
      const args = ["--form", form, folder, windowsFile];
      const program = new TorchProcess(python!, "reference_model.py", args);
      processes.defer(() => program.stop());
      return { form, prune: () => program.run<ModelRun>(`${scratch}/torch`), runs: [] as ModelRun[] };
    });
    const prune = () => runPare(folder, `${scratch}/pare`, windows, choice);

    const warm = await prune();
    for (const reference of references) requireSameProblem(warm, await reference.prune());
    const ours: ModelRun[] = [];
    for (let i = 0; i < repeat; i++) {
      ours.push(await prune());
      for (const reference of references) reference.runs.push(await reference.prune());
    }
    return {
      title,
      layers: warm.layers.length,
      windows: windows.length,
      seqlen: windows[0].length,
      runs: repeat,
      seconds: medianSeconds(ours),
      fastestSeconds: fastestTotal(ours),
      references: Object.fromEntries(references.map(({ form, runs }) => [form, compare(ours, runs)])),
    };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

function compare(ours: readonly ModelRun[], theirs: readonly ModelRun[]): ReferenceResult {
  return {
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
  const phase = (name: string) => median(runs.map(({ seconds }) => seconds[name]));
  const phases = Object.keys(runs[0].seconds).map((name) => [name, phase(name)] as const);
  return { ...Object.fromEntries(phases), total: phase("total") };
}
