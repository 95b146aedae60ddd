/**
 * Prunes one trained model by SparseGPT with each allocation, and measures the perplexity of the result. An
 * allocation is a rule that distributes the zeros over the layers.
 */

import { calibrationWindows } from "../../../src/calibration/windows.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { LocalHost } from "../../../src/cli/local_host.ts";
import { computePerplexity } from "../../../src/evaluation/perplexity.ts";
import { type Model, openModelFolder } from "../../../src/models/model.ts";
import { type AllocationName, ALLOCATIONS } from "../../../src/prune/allocation/allocation.ts";
import { pruneInMemory } from "../../../src/prune/prune_in_memory.ts";
import type { BenchedModel } from "../families/models.ts";

/** The sparsities, as the share of all weights of the linear layers that is pruned. */
export const SPARSITIES = [0.5, 0.6, 0.7] as const;

/** The measurements of the model after it was pruned with one allocation. */
export interface AllocationRun {
  readonly allocation: AllocationName;
  readonly sparsity: (typeof SPARSITIES)[number];
  readonly perplexity: number;
  /** The seconds of the whole run: choosing the sparsities, calibrating and pruning. */
  readonly seconds: number;
}

/** The measurements of one model. */
export interface AllocationResult {
  readonly name: string;
  /** The perplexity before pruning. */
  readonly dense: number;
  readonly runs: readonly AllocationRun[];
}

/**
 * Measures the model. The host, which is Pare's HTTP application inside this process, solves the layers.
 * @param log receives one line of text with each perplexity of a pruned model
 */
export async function benchAllocation(
  { backend, pare: pruner }: LocalHost,
  benched: BenchedModel,
  log: (text: string) => void,
): Promise<AllocationResult> {
  const { name, folder, seqlen, evaluationWindows } = benched;
  const texts = await benched.tokens();
  const windows = calibrationWindows(texts.calibration, { windows: benched.calibrationWindows, seqlen });
  await using opened = await openModelFolder(folder, denoFileSystem);
  const { model } = opened;
  const measure = async (measured: Model) => {
    const options = { seqlen, windows: evaluationWindows };
    return (await computePerplexity(measured, backend, texts.evaluation, options)).perplexity;
  };
  const runs: AllocationRun[] = [];
  for (const sparsity of SPARSITIES) {
    for (const allocation of ALLOCATIONS) {
      const started = performance.now();
      const query = { sparsity, error: false };
      const pruned = await pruneInMemory(model, query, { pruner, backend, windows, allocation });
      const seconds = (performance.now() - started) / 1000;
      const perplexity = await measure(pruned);
      log(`${name} ${allocation} ${sparsity}: ${perplexity.toFixed(3)} in ${seconds.toFixed(1)} s`);
      runs.push({ allocation, sparsity, perplexity, seconds });
    }
  }
  return { name, dense: await measure(model), runs };
}
