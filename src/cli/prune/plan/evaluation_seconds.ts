/** Predicts the time of measuring perplexities from the rates of the calibration. */

import type { ModelSpec } from "../../../models/families/family.ts";
import type { RunRates } from "../../../prune/run_rates.ts";

/** The perplexity of each text is measured of the dense and of the pruned model. */
const MODELS = 2;

/**
 * Returns the seconds of the evaluation. The head takes the time of a block in proportion to its weights.
 * @param texts the number of windows of each text
 * @param batchWindows the number of windows in a batch of the calibration
 */
export function evaluationSeconds(
  { block, blockCount, head }: ModelSpec,
  texts: readonly number[],
  rates: RunRates,
  batchWindows: number,
): number {
  const size = (linears: readonly { readonly inFeatures: number; readonly outFeatures: number }[]) =>
    linears.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0);
  const blocks = blockCount + size([head]) / size(block.groups.flat());
  const first = rates.batchSeconds(true), later = rates.batchSeconds(false);
  const passes = texts.map((windows) => Math.max(0, first - later) + windows / batchWindows * later);
  return MODELS * blocks * passes.reduce((sum, seconds) => sum + seconds, 0);
}
