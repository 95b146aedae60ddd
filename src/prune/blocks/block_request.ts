/** The request that has a block of a run pruned, at a host or in a job of an edge. It is the same in every process of a run. */

import type { QueryOf } from "../../client/model_pruner.ts";
import { checkSolved } from "../../client/blocks/block_answer.ts";
import type { BlockParameters, BlockTensors } from "../../client/blocks/block_host.ts";
import type { SolvedBlock } from "../../client/blocks/solved_block.ts";
import { blockTensors } from "../../model/families/check_tensors.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { type RemoteRun, tensorsOfBlock } from "./window_states.ts";

/** A run whose blocks are pruned elsewhere. */
export interface SolvedRun extends RemoteRun {
  /** The layout of rounded weights in the result. */
  readonly format: string;
  readonly queryOf: QueryOf;
  /** The trained tensors of each reconstructed block are added to it. */
  readonly trained: Map<number, readonly string[]>;
}

export interface BlockRequest {
  readonly parameters: BlockParameters;
  /** The block before it is pruned. */
  readonly tensors: BlockTensors;
  /** The parameters of all chosen layers, by the names of their weights. */
  readonly queries: Readonly<Record<string, LayerQuery>>;
}

export function blockRequest(
  { model, options, plan, format, queryOf }: SolvedRun,
  block: number,
): BlockRequest {
  const { reconstruct, trueSequential, tokenWeightsOf } = options;
  return {
    parameters: { block, advance: plan.runs(block), true_sequential: trueSequential, reconstruct, format },
    tensors: tensorsOfBlock(model, block),
    queries: Object.fromEntries(
      plan.chosenLayers(block).map((
        name,
      ) => [name, { ...queryOf(name), token_weights: tokenWeightsOf?.(name) }]),
    ),
  };
}

/** Returns the answer to the request. @throws {MalformedAnswerError} as `checkSolved` */
export function checkBlock(run: SolvedRun, block: number, solved: SolvedBlock): SolvedBlock {
  const { model, options: { reconstruct = 0, validationWindows = [] } } = run;
  checkSolved(solved, {
    queries: blockRequest(run, block).queries,
    tensors: blockTensors(model.spec, block),
    isReconstructed: reconstruct > 0,
    isMeasured: validationWindows.length > 0,
  });
  return solved;
}
