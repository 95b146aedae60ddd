/**
 * Decides for each block whether its layers move towards their targets. A target fits the calibration text, and can
 * make the model worse on other text. The block is therefore solved with targets and without, and the held-out windows
 * choose one of the two solutions.
 */

import type { TargetDecision } from "../client/blocks/solved_block.ts";
import type { RoundLayer } from "../client/prune_rounds.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Report } from "../protocol/messages.ts";
import { columnIndices, placeColumns } from "../tensor/columns.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { PendingGroup, PlanOptions } from "./block_plan.ts";
import { type OpenBlock, type Solutions, storedWeight, type TargetGuard } from "./open_round.ts";

export interface GuardOptions extends Pick<PlanOptions, "hasTargets" | "trueSequential"> {
  /** The held-out windows. Without them, nothing is decided. @default [] */
  readonly validationWindows?: readonly Uint32Array[];
  /** Called with each decision about the targets of a block, before a layer of the block is replaced. */
  readonly onDecision?: (block: number, decision: TargetDecision) => Promise<void>;
  /** The decisions of an earlier run: by block, whether the layers keep their targets. */
  readonly decided?: ReadonlyMap<number, boolean>;
}

/** Measures the error of the output of the block on the held-out windows, with some of its weights replaced. */
type MeasureOutput = (replaced: ReadonlyMap<string, HostTensor>) => Promise<number>;

/**
 * Returns the guard of a block whose layers have targets, unless no windows are held out. A true-sequential round has
 * no guard, because it solves a part of the block, and the output of the block says little about this part.
 * @param round all layers of the block that are still to be solved
 * @param measure is called with each of the solutions, the one with targets first
 */
export function guardTargets(
  { block, weights, replaced }: OpenBlock,
  round: readonly PendingGroup[],
  { hasTargets, trueSequential, validationWindows = [], decided, onDecision }: GuardOptions,
  measure: MeasureOutput,
): TargetGuard | undefined {
  if (!hasTargets || trueSequential || validationWindows.length === 0) return undefined;
  return {
    decided: decided?.get(block),
    async decide(solved) {
      const linears = new Map(
        round.flatMap(({ layers }) => layers.map(({ name, linear }) => [name, linear])),
      );
      const measureSolution = (which: keyof Solutions) => {
        const solution = Array.from(
          solved,
          ([name, each]) => [name, storedWeight(weights, name, linears.get(name)!, each[which])] as const,
        );
        return measure(new Map([...replaced, ...solution]));
      };
      const errors = {
        withTargets: await measureSolution("withTargets"),
        without: await measureSolution("without"),
      };
      const decision = { areKept: errors.withTargets < errors.without, errors };
      await onDecision?.(block, decision);
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
