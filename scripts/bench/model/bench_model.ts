/**
 * Times one checkpoint: Pare and the two forms of the reference in turn, after a check that all solve the same problem. Besides
 * medians it keeps the fastest run of each: whatever else the machine does only adds time, and to OpenBLAS's pool, whose threads
 * wait for each other, it adds several times as much, so that a ratio of medians taken on a busy machine flatters Pare.
 */

import type { BackendChoice } from "../../../src/host/backends.ts";
import type { Measured } from "../results_file.ts";
import { median } from "../statistics.ts";
import { runPare } from "./pare_run.ts";
import { checkSameProblem, type ModelRun } from "./run.ts";
import { type ReferenceForm, TorchModelReference } from "./torch_run.ts";

/** What is pruned, and on how much text. */
export interface ModelCase {
  readonly title: string;
  readonly folder: string;
  /** Token ids, all windows of one length. */
  readonly windows: readonly Uint32Array[];
}

/** Medians of one checkpoint, in seconds. */
export interface ModelResult {
  readonly title: string;
  readonly layers: number;
  readonly windows: number;
  readonly seqlen: number;
  readonly runs: number;
  readonly seconds: ModelRun["seconds"];
  /** The total of the fastest run. */
  readonly fastestSeconds: number;
  /** By the form of the reference; empty without a Python that has torch. */
  readonly references: Readonly<Partial<Record<ReferenceForm, ReferenceResult>>>;
}

/** What the results file holds. */
export interface ModelsFile extends Measured {
  readonly models: readonly ModelResult[];
}

/** One form of the reference beside us. */
export interface ReferenceResult {
  readonly seconds: ModelRun["seconds"];
  /** Median of the reference's time over ours, pair by pair. */
  readonly speedup: number;
  readonly fastestSeconds: number;
  /** The reference's fastest run over our fastest. */
  readonly fastestSpeedup: number;
}

const FORMS: readonly ReferenceForm[] = ["published", "shared"];

/** Runs `repeat` rounds after one that is checked but not timed. */
export async function benchModel(
  { title, folder, windows }: ModelCase,
  python: string | undefined,
  choice: BackendChoice,
  repeat: number,
): Promise<ModelResult> {
  const scratch = await Deno.makeTempDir();
  await using processes = new AsyncDisposableStack();
  try {
    const windowsFile = `${scratch}/windows.json`;
    await Deno.writeTextFile(windowsFile, JSON.stringify(windows.map((window) => [...window])));
    const references = (python ? FORMS : []).map((form) => {
      const reference = new TorchModelReference(python!, form, folder, windowsFile);
      processes.defer(() => reference.stop());
      return { form, reference, runs: [] as ModelRun[] };
    });
    const runOurs = () => runPare(folder, `${scratch}/pare`, windows, choice);

    const warm = await runOurs();
    for (const { reference } of references) checkSameProblem(warm, await reference.prune(`${scratch}/torch`));
    const ours: ModelRun[] = [];
    for (let i = 0; i < repeat; i++) {
      ours.push(await runOurs());
      for (const { reference, runs } of references) runs.push(await reference.prune(`${scratch}/torch`));
    }
    return {
      title,
      layers: warm.layers.length,
      windows: windows.length,
      seqlen: windows[0].length,
      runs: repeat,
      seconds: medianSeconds(ours),
      fastestSeconds: fastest(ours),
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
    fastestSeconds: fastest(theirs),
    fastestSpeedup: fastest(theirs) / fastest(ours),
  };
}

function fastest(runs: readonly ModelRun[]): number {
  return Math.min(...runs.map(({ seconds }) => seconds.total));
}

function medianSeconds(runs: readonly ModelRun[]): ModelRun["seconds"] {
  const phase = (name: string) => median(runs.map(({ seconds }) => seconds[name]));
  const phases = Object.keys(runs[0].seconds).map((name) => [name, phase(name)] as const);
  return { ...Object.fromEntries(phases), total: phase("total") };
}
