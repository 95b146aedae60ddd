/** The request that has a block of a run pruned, at a host or in a job of an edge. It is the same in every process of a run. */

import type { QueryOf } from "../../protocol/run/solve_round.ts";
import type { PruneStep } from "../../client/blocks/block_host.ts";
import type { SolvedRequest } from "../../client/blocks/check_block.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import { sentParameters } from "../../protocol/run/run_options.ts";
import { weightName } from "../block_plan.ts";
import { type RemoteRun, tensorsOfBlock } from "./window_states.ts";

/** A run whose blocks are pruned elsewhere. */
export interface SolvedRun extends RemoteRun {
  /** The layout of rounded weights in the result. */
  readonly format: RunOptions["format"];
  readonly queryOf: QueryOf;
}

/** The request, and what the run knows about its answer. */
export interface BlockRequest extends SolvedRequest {
  readonly parameters: Omit<PruneStep, "kind">;
}

export function blockRequest(
  { model, options, plan, format, queryOf }: SolvedRun,
  block: number,
): BlockRequest {
  const { tokenWeightsOf, validationWindows = [] } = options;
  const transposed = model.spec.block(block).groups.flat().filter(({ isTransposed }) => isTransposed);
  return {
    isMeasured: validationWindows.length > 0,
    transposed: new Set(transposed.map((linear) => weightName(model.spec, block, linear))),
    parameters: { block, advance: plan.runs(block), ...sentParameters({ ...options, format }) },
    tensors: tensorsOfBlock(model, block),
    queries: Object.fromEntries(
      plan.chosenLayers(block).map((
        name,
      ) => [name, { ...queryOf(name), token_weights: tokenWeightsOf?.(name) }]),
    ),
  };
}
