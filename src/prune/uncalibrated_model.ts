/**
 * Presents a model as a source of layers without calibration statistics, for methods that need no statistics,
 * such as magnitude pruning. No forward pass is run, so this source is far faster than `calibratedModel`.
 */

import type { Model } from "../model/model.ts";
import { BlockPlan } from "./block_plan.ts";
import type { CalibratedModel } from "./calibrated_model.ts";
import { type OnReplace, openRound } from "./open_round.ts";

/**
 * Returns all linear layers in the blocks of `model` as a source. The layers of a block form one round: all
 * of them must be replaced before the layers of the next block are requested. The generator of its `groups`
 * throws {Error} if a layer is not replaced before the next round is requested.
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
