/**
 * Presents a model as a source of layers without statistics, for magnitude pruning. No forward pass is run, so this source is far faster
 * than `calibratedModel`.
 */

import type { Model } from "../model/model.ts";
import { BlockPlan } from "./block_plan.ts";
import type { CalibratedModel } from "./calibrated_model.ts";
import { type OnReplace, openRound } from "./open_round.ts";

/**
 * Returns all linear layers in the blocks of `model` as a source. The layers of a block form one round: all of them must be replaced before
 * the next block is requested, or the generator throws {Error}.
 * @param onReplace called with each replaced weight, in the dtype of the checkpoint
 */
export function uncalibratedModel({ spec, weights }: Model, onReplace: OnReplace): CalibratedModel {
  const plan = new BlockPlan(spec, {});
  return {
    layerCount: plan.layerCount,
    async *groups() {
      for (let block = 0; block <= plan.lastBlock; block++) {
        const openBlock = { block, weights, replaced: new Map(), onReplace };
        for (const round of plan.rounds(block)) yield* openRound(round, openBlock);
      }
    },
  };
}
