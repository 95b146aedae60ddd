/** Solves a share of the layers of a block by statistics that several hosts have summed. */

import { Pare } from "../../client/pare.ts";
import { encodeBlock } from "../../client/blocks/block_answer.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors } from "../../model/families/check_tensors.ts";
import type { FinishedTask, SolveTask } from "../../protocol/resources/tasks.ts";
import { BlockPlan } from "../../prune/block_plan.ts";
import { solveBlock } from "../../prune/blocks/prune_block.ts";
import { openSummedRound, withoutEmptySums, withSums } from "../../prune/blocks/summed_layers.ts";
import type { CalibratedPruner } from "../../prune/device_pruner.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import { blockError, readQueries } from "../blocks/run_block.ts";
import { type BlockSums, readSums, sumsOf } from "./sum_block.ts";
import { statesOfTask, type TaskContext, uploadParts } from "./task_context.ts";

/**
 * Solves the groups of layers whose number has the remainder `share.index` when it is divided by `share.count`, by requests
 * to the application of the host.
 * @throws {StatesNotFoundError} if the states, of which only the description of the model is used, are not stored
 * @throws {SafetensorsError} {TensorMismatchError} {Refusal} if a file is not that of the block, or a layer is refused
 */
export async function solveShare(
  { states, index, block: source, sums: sumsSource, share, parameters: { format }, result }: SolveTask,
  context: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  const { blobs } = context, store = context.states(), used = await statesOfTask(states, context, index);
  const { spec } = used.forward.model, body = await blobs.open(source, signal);
  const sumsBody = await blobs.open(sumsSource, signal);
  // The new weights, which may have twice as many bytes, are in memory until they are written.
  const bytes = sumsBody.totalBytes + Math.ceil((1 + 2 / share.count) * body.totalBytes);
  using _room = await store.reserve("the block with its statistics", bytes, { used });
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  checkCheckpointTensors(file.header.tensors, blockTensors(spec, index));
  const queries = readQueries(file.header.metadata.layers, spec, index);
  const [round = []] = new BlockPlan(spec, { layers: queries }).rounds(index);
  const own = round.filter((_, group) => group % share.count === share.index).flatMap(({ layers }) => layers);
  const tensors = await readTensors(file), sums = await readSums(sumsBody);
  const firstLayers = new Map(
    round.flatMap(({ layers }) => layers.map(({ name }) => [name, layers[0].name] as const)),
  );
  try {
    const solved = await solveBlock({
      model: { spec, weights: memorySource(tensors) },
      windows: used.windows,
      queries: new Map(own.map(({ name }) => [name, queries.get(name)!])),
      isPacked: format === "pack-quantized",
    }, { pruner: summedPruner(index, sums, (name) => firstLayers.get(name)!, context), signal });
    return await uploadParts(encodeBlock(solved), result.url, context, signal);
  } catch (error) {
    throw blockError(error);
  }
}

/** Returns the pruner that has the application of the host solve layers by `sums`. */
function summedPruner(
  block: number,
  sums: BlockSums,
  firstLayerOf: (name: string) => string,
  { host }: TaskContext,
): CalibratedPruner {
  const client = new Pare({ baseUrl: "http://host", application: host });
  const tokensOf = (name: string) =>
    sums.tokens.get(firstLayerOf(name)) ?? { tokens: 0, validation_tokens: 0 };
  return {
    calibrate(model, options) {
      const plan = new BlockPlan(model.spec, options);
      const openBlock = { block, weights: model.weights, replaced: new Map(), onReplace: options.onReplace };
      return {
        layerCount: plan.layerCount,
        async *groups() {
          for (const round of plan.rounds(block)) yield* openSummedRound(round, openBlock, tokensOf);
        },
      };
    },
    pruneModel(source, query, options) {
      const sent = withSums(source, (layers) => {
        const [{ name }] = layers, added = { sums: sumsOf(sums, firstLayerOf(name)), targets: new Map() };
        return Promise.resolve(withoutEmptySums(added, layers, tokensOf(name)));
      });
      return client.pruneModel(sent, query, options);
    },
  };
}
