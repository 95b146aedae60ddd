/** Does the steps on a block that a client may request, by the code of a run on one machine. */

import { memorySource, withReplacements } from "../../model/checkpoint/tensor_source.ts";
import { PRUNED } from "../../protocol/blocks/block_names.ts";
import type { SolvedBlock } from "../../protocol/blocks/solved_block.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { BlockStep } from "../../protocol/resources/blocks.ts";
import { solveBlock } from "../../prune/blocks/solve_block.ts";
import { LocalStates } from "../../prune/local_states.ts";
import type { OpenBlock } from "../../prune/open_block.ts";
import { sumParts } from "./sum_parts.ts";
import type { States, StoredSums } from "./states.ts";

/** The parameters of layers by the names of their weights. */
export type LayerQueries = ReadonlyMap<string, LayerQuery>;

/**
 * Does a step. The tensors of the block are in `states.weights`.
 * @param signal stops the work after the current batch or layer, so that nothing runs any more when this function throws. Once the states
 *   have begun to change, the work continues to its end, because states of two blocks would be lost
 */
export async function doStep(
  states: States,
  step: BlockStep,
  queries: LayerQueries,
  signal: AbortSignal,
): Promise<SolvedBlock> {
  const { forward, weights, windows, validationWindows } = states, { block } = step;
  const progress = () => {
    if (forward.isBefore(block)) signal.throwIfAborted();
  };
  const options = { windows, validationWindows, layers: queries, progress };
  if (step.kind === "prune") return await solveBlock(forward, step, options);
  const pruned = [...weights].filter(([name]) => name.startsWith(PRUNED));
  const replaced = new Map(pruned.map(([name, tensor]) => [name.slice(PRUNED.length), tensor]));
  const open: OpenBlock = { block, weights: memorySource(weights), replaced };
  if (step.kind === "collect") {
    states.sums = await sumParts(states, step, queries, withReplacements(open.weights, replaced), signal);
    return { layers: [], sums: countTokens(states.sums) };
  }
  const runs = step.kind === "run",
    local = LocalStates.ofBlock(forward, block, { ...options, runsLast: runs });
  if (step.kind === "train") return { layers: [], reconstructed: await local.train(open, step.epochs) };
  if (step.kind === "measure" && step.against === "model") {
    return { layers: [], error: await local.measure(open, replaced) };
  }
  const error = await local.advance(open, replaced.size > 0 && validationWindows.length > 0);
  if (runs && forward.denseStates) await local.runDense();
  return { layers: [], error };
}

/** Returns the number of tokens in the sums of each layer. */
function countTokens({ layers }: StoredSums): SolvedBlock["sums"] {
  return Array.from(layers, ([name, { tokens: { fitted, heldOut } }]) => {
    return { name, tokens: fitted, validation_tokens: heldOut };
  });
}
