/**
 * Measures `pare prune` on models of growing depth, and on one model with a growing number of calibration
 * windows. The models are small OPT models with random weights, so that the whole bench takes minutes.
 */

import { makeRandomOpt, type OptShape } from "../../fixtures/make_random_opt.ts";
import { median } from "../measure/statistics.ts";
import { runPare } from "../peers/programs.ts";
import { modelWork } from "../projection/projection.ts";
import type { GrowthPoint } from "./growth_results.ts";
import type { GrowthBackend } from "./layer_growth.ts";
import { repeatWithin } from "./repeat_within.ts";

/** The width of every model. */
const SHAPE = { hidden: 256, heads: 4, ffn: 1024, vocabulary: 2048, positions: 128 };
/** The number of tokens per window. */
const SEQLEN = 128;
/** The limits of the timed runs of one size. Each run is a process of its own. A size has fewer runs if they take long. */
const LIMITS = { repeat: 3, budgetSeconds: 12 };

/** A model and its calibration. */
export interface ModelSize {
  readonly blocks: number;
  readonly windows: number;
}

/** The flops of pruning a model. The forward pass and the statistics are counted over its calibration tokens. */
export function modelFlops({ blocks, windows }: ModelSize): number {
  const { hidden, ffn } = SHAPE;
  const inputs = [
    { cols: hidden, rows: [hidden, hidden, hidden] }, // q, k, v
    { cols: hidden, rows: [hidden] }, // out
    { cols: hidden, rows: [ffn] }, // fc1
    { cols: ffn, rows: [hidden] }, // fc2
  ];
  const { forward, statistics, factor, solve } = modelWork({ title: "", blocks, inputs }, windows * SEQLEN);
  return forward + statistics + factor + solve;
}

/**
 * Prunes a model of `blocks` blocks, calibrated on `windows` windows of `text`.
 * @param scratch an existing folder for the checkpoints
 */
export async function measureModel(
  { blocks, windows }: ModelSize,
  size: string,
  { text, scratch, backend, blas }: GrowthBackend & { readonly text: string; readonly scratch: string },
): Promise<GrowthPoint> {
  const folder = await Deno.makeTempDir({ dir: scratch });
  try {
    const shape: OptShape = { ...SHAPE, layers: blocks };
    await makeRandomOpt(`${folder}/dense`, shape);
    const calibration = {
      folder: `${folder}/dense`,
      text,
      samples: windows,
      seqlen: SEQLEN,
      windowsFile: "",
    };
    const parameters = { method: "sparsegpt", sparsity: "0.5" };
    const runs = await repeatWithin(LIMITS, async () => {
      const cost = await runPare({ parameters }, calibration, `${folder}/pruned`, backend, blas);
      await Deno.remove(`${folder}/pruned`, { recursive: true });
      return cost;
    });
    return {
      size,
      flops: modelFlops({ blocks, windows }),
      seconds: median(runs.map(({ compressSeconds }) => compressSeconds)),
      peakBytes: Math.max(...runs.map(({ peakBytes }) => peakBytes)),
      runs: runs.length,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
