/**
 * Times the pruning of one whole model by Pare and by a PyTorch program in two forms, which are called the
 * references. In each round, Pare prunes the model once for each way to multiply matrices, and then each
 * reference once. Before anything is timed, one run of each is made and their losses are compared. This proves
 * that all of them solve the same problem. Each reference runs in the build and the setting of PyTorch that
 * were fastest in short trials.
 *
 * Besides the medians, the fastest run of each program is reported. Other load on the machine only adds time.
 * The same load adds several times as much to PyTorch's time, because OpenBLAS's threads wait for each other.
 * On a busy machine the ratio of the medians is therefore too favourable to Pare.
 */

import type { BackendChoice } from "../../../src/host/backends.ts";
import type { MatrixProducts } from "../measure/matrix_products.ts";
import { median } from "../measure/statistics.ts";
import { type Choice, chooseFastest, type Trial } from "../torch/choose_fastest.ts";
import { candidateTitle, type TorchCandidate } from "../torch/thread_settings.ts";
import { TorchProcess, trialSeconds } from "../torch/torch_process.ts";
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
  /** The checkpoint and the windows on which the settings of PyTorch are tried. */
  readonly trial: Pick<ModelCase, "folder" | "windows">;
}

/** The trials of each form of the reference. */
export type ModelTrials = Readonly<Partial<Record<ReferenceForm, readonly Trial[]>>>;

/** The medians of one checkpoint and one way to multiply matrices. Times are in seconds. */
export interface ModelTiming {
  readonly title: string;
  /** The library that multiplied matrices for Pare. Absent if Pare's own kernels did. */
  readonly library?: string;
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
  /** The build and the setting of PyTorch. It was the fastest one in the trials. */
  readonly setting?: string;
  /** The median, over the rounds, of the reference's time divided by Pare's. */
  readonly speedup: number;
  readonly fastestSeconds: number;
  /** The reference's fastest run divided by Pare's fastest run. */
  readonly fastestSpeedup: number;
}

const FORMS: readonly ReferenceForm[] = ["published", "shared"];

/** What Pare and PyTorch run with. */
export interface ModelBenchOptions {
  /** The builds of PyTorch and the settings to try. If there are none, Pare is timed alone. */
  readonly candidates: readonly TorchCandidate[];
  readonly backend: BackendChoice;
  /** The ways in which Pare multiplies matrices. */
  readonly products: readonly MatrixProducts[];
  /** How many rounds to time, after one round that is checked but not timed. */
  readonly repeat: number;
}

/** A form of the reference in its fastest setting, and its timed runs. */
interface Reference {
  readonly form: ReferenceForm;
  readonly choice: Choice<TorchCandidate>;
  readonly prune: () => Promise<ModelRun>;
  readonly runs: ModelRun[];
}

/** The results of one checkpoint. */
export interface ModelBenchResult {
  /** One entry for each way to multiply matrices. */
  readonly timings: readonly ModelTiming[];
  readonly trials: ModelTrials;
}

/**
 * Chooses the setting of PyTorch, and times `repeat` rounds.
 * @throws {Error} if Pare and a reference solve different problems
 */
export async function benchModel(
  modelCase: ModelCase,
  { candidates, backend, products, repeat }: ModelBenchOptions,
): Promise<ModelBenchResult> {
  const { title, folder, windows } = modelCase;
  const scratch = await Deno.makeTempDir();
  await using processes = new AsyncDisposableStack();
  try {
    const references: Reference[] = [];
    for (const form of candidates.length > 0 ? FORMS : []) {
      const choice = await chooseSetting(form, modelCase.trial, candidates, scratch);
      const args = await referenceArguments(form, folder, windows, scratch);
      const program = new TorchProcess(choice.best, "reference_model.py", args);
      processes.defer(() => program.stop());
      references.push({ form, choice, prune: () => program.run(`${scratch}/torch`), runs: [] });
    }
    const ours = products.map(({ blas, library }) => ({
      library,
      prune: () => runPare(folder, `${scratch}/pare`, windows, backend, blas),
      runs: [] as ModelRun[],
    }));

    const warm: ModelRun[] = [];
    for (const { prune } of ours) warm.push(await prune());
    for (const { prune } of references) {
      const run = await prune();
      for (const own of warm) requireSameProblem(own, run);
    }
    for (let round = 0; round < repeat; round++) {
      for (const { prune, runs } of [...ours, ...references]) runs.push(await prune());
    }
    const timings = ours.map(({ library, runs }): ModelTiming => ({
      title,
      ...(library !== undefined && { library }),
      layers: warm[0].layers.length,
      windows: windows.length,
      seqlen: windows[0].length,
      runs: repeat,
      seconds: medianSeconds(runs),
      fastestSeconds: fastestTotal(runs),
      references: Object.fromEntries(
        references.map((reference) => [reference.form, compare(runs, reference)]),
      ),
    }));
    return {
      timings,
      trials: Object.fromEntries(references.map(({ form, choice }) => [form, choice.trials])),
    };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function chooseSetting(
  form: ReferenceForm,
  { folder, windows }: ModelCase["trial"],
  candidates: readonly TorchCandidate[],
  scratch: string,
): Promise<Choice<TorchCandidate>> {
  const args = await referenceArguments(form, folder, windows, scratch);
  return await chooseFastest(
    candidates,
    candidateTitle,
    (candidate) => trialSeconds(candidate, "reference_model.py", args, `${scratch}/trial`),
  );
}

/** Writes the windows to a file of their own in `scratch`, and returns the arguments of `reference_model.py`. */
async function referenceArguments(
  form: ReferenceForm,
  folder: string,
  windows: readonly Uint32Array[],
  scratch: string,
): Promise<string[]> {
  const file = await Deno.makeTempFile({ dir: scratch, suffix: ".json" });
  await Deno.writeTextFile(file, JSON.stringify(windows.map((window) => [...window])));
  return ["--form", form, folder, file];
}

function compare(ours: readonly ModelRun[], { choice, runs: theirs }: Reference): ReferenceResult {
  return {
    setting: candidateTitle(choice.best),
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
