/**
 * Prunes a model, fine-tunes the pruned copies with kept zeros in several ways, and measures how much
 * perplexity returns. `pare prune` prunes, `finetune.py` trains and looks at every pruned weight after every step,
 * and `pare eval` measures the checkpoints that `finetune.py` has saved.
 */

import { fileURLToPath } from "node:url";
import { calibrationWindows } from "../../../src/calibration/windows.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { VENVS } from "../../peers/venv.ts";
import { measureProcess } from "../../processes/measure_process.ts";
import type { BenchedModel } from "../families/models.ts";
import { countZeros, type ZeroCount } from "../peers/count_zeros.ts";
import { peerEnvironment } from "../torch/peer_environment.ts";
import { parePerplexities, runPare } from "../peers/programs.ts";

/** A way of `finetune.py` to train, and its title in the table. */
const WAYS = {
  ddp: "DistributedDataParallel, 2 ranks",
  fsdp2: "FSDP2, 2 ranks",
  trainer: "Trainer of transformers",
  lora: "masked LoRA, merged",
} as const;

type Way = keyof typeof WAYS | "dense";

/** A target of pruning: its title, and the options of `pare prune`. */
const TARGETS = {
  "50 %": { method: "sparsegpt", sparsity: "0.5" },
  "2:4": { method: "sparsegpt", pattern: "2:4" },
} as const;

/** The JSON that `finetune.py` prints. */
interface FinetuneReport {
  /** The steps after which the pruned weights were compared with +0.0. */
  readonly steps: number;
  readonly pruned: number;
  /** The pruned weights whose bits were not those of +0.0, over all steps. */
  readonly nonzeros: number;
  readonly versions: Readonly<Record<string, string>>;
}

/** One fine-tuned checkpoint. */
export interface FinetunedModel extends ZeroCount, Omit<FinetuneReport, "versions"> {
  readonly title: string;
  readonly perplexity: number;
  /** The seconds of the whole process. */
  readonly seconds: number;
}

/** The checkpoints of one target. */
export interface TargetResult extends ZeroCount {
  readonly target: string;
  /** The perplexity of the pruned model before fine-tuning. */
  readonly perplexity: number;
  readonly finetuned: readonly FinetunedModel[];
}

/** The results of one run. */
export interface FinetuningResults {
  readonly model: string;
  readonly seqlen: number;
  /** The number of windows that all ways are trained on. */
  readonly windows: number;
  readonly evaluationWindows: number;
  readonly versions: Readonly<Record<string, string>>;
  /** The perplexity of the dense model, as it is and after the same training. */
  readonly dense: number;
  readonly denseFinetuned: number;
  readonly targets: readonly TargetResult[];
}

/** The settings of the bench. */
export interface FinetuningOptions {
  readonly backend: BackendChoice;
  readonly windows: number;
  readonly log: (text: string) => void;
}

/** The adapter with which the model was pruned. */
export interface Adapter {
  readonly backend: string;
  readonly adapter: string;
}

/** A checkpoint that was trained, before its perplexity is measured. */
interface Trained {
  readonly out: string;
  readonly seconds: number;
  readonly report: FinetuneReport;
}

/**
 * Measures one model. `scratch` is an empty folder for texts and checkpoints.
 * @throws {Error} if a program fails, or if a pruned weight was not zero after a step
 */
export async function benchFinetuning(
  model: BenchedModel,
  scratch: string,
  { backend: choice, windows, log }: FinetuningOptions,
): Promise<FinetuningResults & { readonly adapter: Adapter }> {
  const { name, folder, seqlen, calibrationWindows: samples, evaluationWindows } = model;
  const texts = await model.textFiles(scratch), { calibration } = await model.tokens();
  const windowsFile = `${scratch}/windows.json`;
  const trained = calibrationWindows(calibration, { windows, seqlen });
  await Deno.writeTextFile(windowsFile, JSON.stringify(trained.map((window) => [...window])));

  const train = async (way: Way, from: string): Promise<Trained> => {
    const out = await Deno.makeTempDir({ dir: scratch });
    const measured = await measureProcess({
      command: VENVS.readers.python,
      args: [...launcher(way), FINETUNE, way, from, windowsFile, out],
      env: peerEnvironment({ PYTHONPATH: PACKAGE, HF_HUB_OFFLINE: "1", OMP_NUM_THREADS: "1" }),
    });
    const report: FinetuneReport = JSON.parse(measured.stdout.trim().split("\n").at(-1)!);
    log(`${way}: ${report.steps} steps, ${measured.seconds.toFixed(0)} s`);
    if (report.nonzeros > 0) throw new Error(`${way}: ${report.nonzeros} pruned weights were not zero`);
    return { out, seconds: measured.seconds, report };
  };
  const measure = (folders: readonly string[]) =>
    parePerplexities(folders, texts.evaluation, { seqlen, windows: evaluationWindows, backend: choice });

  const denseTrained = await train("dense", folder);
  const [dense, denseFinetuned] = await measure([folder, denseTrained.out]);
  const targets: TargetResult[] = [];
  let adapter: Adapter | undefined;
  for (const [target, parameters] of Object.entries(TARGETS)) {
    const pruned = `${scratch}/pruned-${targets.length}`;
    const data = { folder, text: texts.calibration, samples, seqlen, windowsFile };
    adapter = await runPare({ parameters }, data, pruned, choice);
    log(`${target}: pruned`);
    const runs: [string, Trained][] = [];
    for (const way of Object.keys(WAYS) as (keyof typeof WAYS)[]) {
      runs.push([WAYS[way], await train(way, pruned)]);
    }
    const [perplexity, ...perplexities] = await measure([pruned, ...runs.map(([, { out }]) => out)]);
    const finetuned: FinetunedModel[] = [];
    for (const [i, [title, { out, seconds, report: { steps, pruned, nonzeros } }]] of runs.entries()) {
      const zeros = await countZeros(out);
      finetuned.push({ title, perplexity: perplexities[i], seconds, steps, pruned, nonzeros, ...zeros });
    }
    targets.push({ target, perplexity, ...await countZeros(pruned), finetuned });
  }
  const { versions } = denseTrained.report;
  const settings = { model: name, seqlen, windows, evaluationWindows, versions };
  return { ...settings, dense, denseFinetuned, targets, adapter: adapter! };
}

const FINETUNE = fileURLToPath(new URL("finetune.py", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../../src/python", import.meta.url));

/** The arguments of Python that start the program, on two ranks if the way needs ranks. */
function launcher(way: Way): readonly string[] {
  if (way !== "ddp" && way !== "fsdp2") return ["-B"];
  const rendezvous = [
    "--rdzv-backend",
    "c10d",
    "--rdzv-endpoint",
    "127.0.0.1:0",
    "--local-addr",
    "127.0.0.1",
  ];
  return ["-B", "-m", "torch.distributed.run", "--nproc-per-node", "2", ...rendezvous];
}
