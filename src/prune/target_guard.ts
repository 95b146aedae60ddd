/**
 * Decides for each block whether its layers move towards their targets. A target fits the calibration text, and can
 * make the model worse on other text. The block is therefore solved with targets and without, and the held-out windows
 * choose one of the two solutions.
 */

import { abortable } from "../base/waiting.ts";
import type { RoundLayer, SolutionName, SourceLayer } from "../protocol/run/solve_round.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Report } from "../protocol/messages.ts";
import type { BlockOptions } from "../protocol/run/options.ts";
import { columnIndices, placeColumns } from "../tensor/columns.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { OpenBlock } from "./open_block.ts";
import type { OpenDestination } from "./run/job.ts";
import type { BlockStates, Round } from "./steps.ts";

/** A run whose blocks may decide about targets. */
interface DecidingRun {
  readonly states: Pick<BlockStates, "measure">;
  readonly destination: Pick<OpenDestination, "decided" | "recordDecision">;
  /** See `decidesTargets`. */
  readonly decidesTargets: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Whether a run decides about targets. Without held-out windows, nothing can be compared. With `trueSequential`, a round is a part of a
 * block, and the output of the block says little about this part.
 * @param heldOut the number of held-out windows, or their share
 */
export function decidesTargets({ target, trueSequential }: Partial<BlockOptions>, heldOut: number): boolean {
  return target === "dense" && heldOut > 0 && !trueSequential;
}

/** Returns the wanted solutions of the layers of a round. A layer without a choice is solved once, with its target if it has one. */
export function solutionsOf(
  { decidesTargets, destination: { decided } }: DecidingRun,
  { block, decision }: OpenBlock,
  { hasTargets }: Round,
): readonly (SolutionName | undefined)[] {
  if (!hasTargets || !decidesTargets) return [undefined];
  const areKept = decision?.areKept ?? decided?.get(block);
  if (areKept === undefined) return ["withTargets", "without"];
  return [areKept ? undefined : "without"];
}

/**
 * Returns the query of a layer for its solution. If the layer is solved twice, the second solve leaves out the relative
 * errors, because `withErrors` can add them.
 */
export function solutionQuery(
  query: LayerQuery,
  { solution }: SourceLayer,
  solutions: ReturnType<typeof solutionsOf>,
): LayerQuery {
  if (solution !== "without") return query;
  const { target_step: _step, ...own } = query;
  return solutions.length > 1 ? { ...own, error: false } : own;
}

/**
 * Waits for both solutions of all layers of a block, measures the error of the output of the block with each, records
 * the decision, and returns the layers of the better solution.
 * @param weightOf returns a weight as it is stored
 */
export async function decideTargets(
  { states, destination, signal }: DecidingRun,
  open: OpenBlock,
  solving: AsyncIterable<RoundLayer>,
  weightOf: (name: string, weight: HostTensor) => HostTensor,
): Promise<RoundLayer[]> {
  const solved: Record<SolutionName, RoundLayer[]> = { withTargets: [], without: [] };
  for await (const { mask, ...layer } of solving) {
    const copy = mask && { ...mask, data: mask.data.slice() };
    solved[layer.layer.solution!].push({ ...layer, mask: copy });
  }
  const measure = (layers: readonly RoundLayer[]) => {
    const weights = layers.map((layer) =>
      [layer.layer.name, weightOf(layer.layer.name, wholeWeight(layer))] as const
    );
    return abortable(states.measure(open, new Map([...open.replaced, ...weights])), signal);
  };
  const errors = {
    withTargets: await measure(solved.withTargets),
    without: await measure(solved.without),
  };
  const areKept = errors.withTargets < errors.without;
  await destination.recordDecision?.(open.block, { areKept, errors });
  if (areKept) return solved.withTargets;
  const first = new Map(solved.withTargets.map(({ layer: { name }, report }) => [name, report]));
  return solved.without.map((layer) => ({
    ...layer,
    report: withErrors(layer.report, first.get(layer.layer.name)!),
  }));
}

/** Returns the weight of a solved layer in the shape that it has in the model, with 0 in removed columns. */
export function wholeWeight(
  { layer, weight, kept }: Pick<RoundLayer, "layer" | "weight" | "kept">,
): HostTensor {
  return kept ? placeColumns(weight, columnIndices(kept), layer.weight.shape[1]) : weight;
}

/**
 * Adds the relative errors to the report of a layer that was solved without its target. Their denominators take two products,
 * so they are taken from the report `first` of the same layer with its target.
 */
function withErrors(report: Report, first: Report): Report {
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
