/** The calibration rounds of a block whose layers several hosts solve. */

import type { ModelSpec } from "../../model/families/family.ts";
import { BlockPlan, type PendingGroup } from "../../prune/block_plan.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SumTask } from "../../protocol/resources/tasks.ts";

export interface BlockRounds {
  /** The groups of each round. */
  readonly rounds: readonly (readonly PendingGroup[])[];
  /** The number of rounds before the block is trained. Undefined if it is not. */
  readonly trainedAfter?: number;
  /** Whether a layer is rounded after the training. All layers are then solved twice. */
  readonly isRoundedLast: boolean;
}

/** @param queries the parameters of the layers to prune */
export function blockRounds(
  spec: ModelSpec,
  { index, parameters: { true_sequential, reconstruct } }: Pick<SumTask, "index" | "parameters">,
  queries: ReadonlyMap<string, LayerQuery>,
): BlockRounds {
  const isRounded = (name: string) => queries.get(name)?.bits !== undefined;
  const plan = new BlockPlan(spec, {
    layers: queries,
    trueSequential: true_sequential,
    reconstruct,
    isRounded,
  });
  const rounds = plan.rounds(index), isRoundedLast = plan.isRoundedLast(index);
  return {
    rounds: isRoundedLast ? [...rounds, ...rounds] : rounds,
    trainedAfter: plan.epochs(index) > 0 ? rounds.length : undefined,
    isRoundedLast,
  };
}
