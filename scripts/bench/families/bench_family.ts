/**
 * Measures one trained model: its perplexity before pruning, and after pruning it to each sparsity target by SparseGPT and by
 * magnitude.
 */

import { calibrationWindows } from "../../../src/calibration/windows.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { LocalHost } from "../../../src/cli/local_host.ts";
import { computePerplexity } from "../../../src/evaluation/perplexity.ts";
import { type Model, openModelFolder } from "../../../src/models/model.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { pruneInMemory } from "../../../src/prune/prune_in_memory.ts";
import type { BenchedModel } from "./models.ts";

/**
 * The sparsity targets. A percentage is the share of the weights that is pruned. A pattern n:m keeps at most
 * n of every m neighbouring weights of a row.
 */
export const TARGETS = ["10 %", "20 %", "30 %", "40 %", "50 %", "60 %", "70 %", "2:4", "4:8"] as const;
export const METHODS = ["sparsegpt", "magnitude"] as const;

/** The perplexity of the model after pruning it in one way. */
export interface PrunedRun {
  readonly method: (typeof METHODS)[number];
  readonly target: (typeof TARGETS)[number];
  readonly perplexity: number;
}

/** The measurements of one model. */
export interface FamilyResult {
  readonly name: string;
  /** The `model_type` of the checkpoint. */
  readonly family: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  /** The perplexity before pruning. */
  readonly dense: number;
  readonly runs: readonly PrunedRun[];
}

/**
 * Measures the perplexity of one model before and after pruning. The given host solves the layers. Each
 * perplexity is also passed to `log` as a line of text.
 */
export async function benchFamily(
  { backend, pare }: LocalHost,
  benched: BenchedModel,
  log: (text: string) => void,
): Promise<FamilyResult> {
  const { name, folder, seqlen, evaluationWindows } = benched;
  const texts = await benched.tokens();
  const windows = calibrationWindows(texts.calibration, { windows: benched.calibrationWindows, seqlen });
  await using opened = await openModelFolder(folder, denoFileSystem);
  const { model, checkpoint } = opened;
  const measure = async (title: string, measured: Model) => {
    const options = { seqlen, windows: evaluationWindows };
    const { perplexity: value } = await computePerplexity(measured, backend, texts.evaluation, options);
    log(`${name} ${title}: ${value.toFixed(3)}`);
    return value;
  };
  const dense = await measure("dense", model);
  const runs: PrunedRun[] = [];
  for (const method of METHODS) {
    for (const target of TARGETS) {
      const pruned = await pruneInMemory(model, queryOf(method, target), {
        pruner: pare,
        backend,
        windows,
      });
      runs.push({ method, target, perplexity: await measure(`${method} ${target}`, pruned) });
    }
  }
  const family = String(checkpoint.config.model_type);
  return {
    name,
    family,
    seqlen,
    calibrationWindows: benched.calibrationWindows,
    evaluationWindows,
    dense,
    runs,
  };
}

/**
 * Returns the request parameters of every layer: the given method and target, and the published code's
 * defaults otherwise.
 */
function queryOf(method: PrunedRun["method"], target: PrunedRun["target"]): LayerQuery {
  const goal = target === "2:4" || target === "4:8"
    ? { pattern: target }
    : { sparsity: Number.parseInt(target) / 100 };
  return { method, ...goal, error: false };
}
