/**
 * Decides for each block whether its layers move towards their targets. A target fits the calibration text, and can
 * make the model worse on other text. The block is therefore solved with targets and without, and the held-out windows
 * choose one of the two solutions.
 */

import type { TargetDecision } from "../client/blocks/solved_block.ts";
import type { RoundLayer } from "../client/prune_rounds.ts";
import { type TensorSource, withReplacements } from "../model/checkpoint/tensor_source.ts";
import type { Forward } from "../model/forward.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Report } from "../protocol/messages.ts";
import { columnIndices, placeColumns } from "../tensor/columns.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { BlockMeter } from "./block_meter.ts";
import type { PendingGroup } from "./block_plan.ts";
import { type OpenBlock, type Solutions, storedWeight, type TargetGuard } from "./open_round.ts";

export interface GuardOptions {
  /** The number of fitted windows. At least one window follows them, and is held out. */
  readonly fitted: number;
  /** The decision of an earlier process. */
  readonly earlier?: boolean;
  /** Called with a new decision, for example to record it. */
  readonly onDecision?: (decision: TargetDecision) => Promise<void>;
  /** Begins the pass of the dense stream through the block, if there is still one. The result is called after each batch, and may throw. */
  readonly beginDense: () => () => void;
}

/**
 * Returns the guard of a block whose layers have targets.
 * @param forward a forward pass before the block, with a dense stream, which a decision may run through the block
 * @param round all layers of the block that are still to be solved
 */
export function guardTargets(
  forward: Forward,
  openBlock: OpenBlock,
  round: readonly PendingGroup[],
  { fitted, earlier, onDecision, beginDense }: GuardOptions,
): TargetGuard {
  return {
    decided: earlier,
    async decide(solved) {
      const { block, weights, replaced } = openBlock, dense = forward.denseStates!;
      if (dense.nextBlock === block) await forward.runDenseBlock(beginDense());
      const meter = await BlockMeter.open(
        forward,
        block,
        fitted,
        (observer) => dense.visitOutputs(() => {}, observer),
      );
      const linears = new Map(
        round.flatMap(({ layers }) => layers.map(({ name, linear }) => [name, linear])),
      );
      const solution = (which: keyof Solutions): TensorSource =>
        withReplacements(
          withReplacements(weights, replaced),
          new Map(
            Array.from(solved, ([name, each]) =>
              [name, storedWeight(weights, name, linears.get(name)!, each[which])] as const),
          ),
        );
      const errors = {
        withTargets: await meter.measureStored(solution("withTargets")),
        without: await meter.measureStored(solution("without")),
      };
      forward.freeActivations();
      const decision = { areKept: errors.withTargets < errors.without, errors };
      await onDecision?.(decision);
      return decision.areKept;
    },
  };
}

/** Returns the weight of a solved layer in the shape that it has in the model, with 0 in removed columns. */
export function wholeWeight(
  { group, name, weight, kept }: Pick<RoundLayer<unknown>, "group" | "name" | "weight" | "kept">,
): HostTensor {
  if (!kept) return weight;
  const [, cols] = group.layers.find((layer) => layer.name === name)!.weight.shape;
  return placeColumns(weight, columnIndices(kept), cols);
}

/**
 * Returns the query of a layer that is solved without its target.
 * @param isSecond whether it is solved with its target too, so that `withErrors` can add its relative errors
 */
export function withoutTarget({ target_step: _step, ...query }: LayerQuery, isSecond: boolean): LayerQuery {
  return isSecond ? { ...query, error: false } : query;
}

/**
 * Adds the relative errors to the report of a layer that was solved without its target. Their denominators, which take
 * two products, are those of the report `first` of the same layer with its target.
 */
export function withErrors(report: Report, first: Report): Report {
  const divide = (loss: number | null, firstLoss: number | null, firstError: number | null) =>
    loss !== null && firstLoss && firstError ? loss * firstError / firstLoss : null;
  const { loss, validation_loss } = report;
  return {
    ...report,
    relative_error: divide(loss, first.loss, first.relative_error),
    ...validation_loss !== undefined && {
      validation_error: divide(validation_loss, first.validation_loss!, first.validation_error!),
    },
  };
}
