/**
 * Solves a share of the layers of a block by statistics that several hosts have summed. With targets and held-out windows,
 * each layer is solved with its target and without it, and `decideTargets` chooses later.
 */

import { Pare } from "../../client/pare.ts";
import { encodeBlock } from "../../client/blocks/block_answer.ts";
import { targetsOf } from "../../client/blocks/layer_sums.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors } from "../../model/families/check_tensors.ts";
import type { FinishedTask, SolveTask } from "../../protocol/resources/tasks.ts";
import { BlockPlan } from "../../prune/block_plan.ts";
import { solveBlock } from "../../prune/blocks/prune_block.ts";
import { openSummedRound, withoutEmptySums, withSums } from "../../prune/blocks/summed_layers.ts";
import type { CalibratedPruner } from "../../prune/device_pruner.ts";
import { WITHOUT_TARGET } from "../../prune/server_pruner.ts";
import { withoutTarget } from "../../prune/target_guard.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { openSafetensors, readTensors } from "../../tensor/safetensors/decode.ts";
import { checkCheckpointTensors, MAX_BLOCK_HEADER_BYTES } from "../blocks/check_body.ts";
import { blockError, readQueries } from "../blocks/run_block.ts";
import { sumTargets } from "../blocks/sum_targets.ts";
import { type BlockSums, readSums, sumsOf } from "./sum_block.ts";
import { statesOfTask, type TaskContext, uploadParts } from "./task_context.ts";

/**
 * Solves the groups of a round whose number has the remainder `share.index` when it is divided by `share.count`, by requests
 * to the application of the host.
 * @throws {StatesNotFoundError} if the states, of which only the description of the model is used, are not stored
 * @throws {SafetensorsError} {TensorMismatchError} {Refusal} if a file is not that of the block, or a layer is refused
 */
export async function solveShare(
  { states, index, block: source, sums: sumsSource, round: number, share, parameters, result }: SolveTask,
  context: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  const { blobs } = context, store = context.states(), used = await statesOfTask(states, context, index);
  const { denseStates, model: { spec } } = used.forward, hasTargets = denseStates !== undefined;
  const body = await blobs.open(source, signal), sumsBody = await blobs.open(sumsSource, signal);
  // The new weights, which may have twice as many bytes, are in memory until they are written. With targets, they are those of
  // two solutions, and there are targets of as many bytes.
  const solvedBytes = (hasTargets ? 6 : 2) * body.totalBytes / share.count;
  const bytes = sumsBody.totalBytes + body.totalBytes + Math.ceil(solvedBytes);
  using _room = await store.reserve("the block with its statistics", bytes, { used });
  const file = await openSafetensors(body.bytes, { ...body, maxHeaderBytes: MAX_BLOCK_HEADER_BYTES });
  checkCheckpointTensors(file.header.tensors, blockTensors(spec, index));
  const queries = readQueries(file.header.metadata.layers, spec, index);
  const plan = new BlockPlan(spec, { layers: queries, trueSequential: parameters.true_sequential });
  const round = plan.rounds(index)[number] ?? [];
  const own = round.filter((_, group) => group % share.count === share.index).flatMap(({ layers }) => layers);
  const tensors = await readTensors(file), sums = await readSums(sumsBody);
  const firstLayers = new Map(
    round.flatMap(({ layers }) => layers.map(({ name }) => [name, layers[0].name] as const)),
  );
  const hasHeldOut = [...sums.tensors.keys()].some((name) => name.endsWith(".validation_hessian_upper"));
  const isGuarded = hasTargets && hasHeldOut && !parameters.true_sequential;
  const solve = async (queryOf: (query: LayerQuery) => LayerQuery, withTargets: boolean) => {
    const firstLayerOf = (name: string) => firstLayers.get(name)!;
    const { layers } = await solveBlock({
      model: { spec, weights: memorySource(tensors) },
      windows: used.windows,
      queries: new Map(own.map(({ name }) => [name, queryOf(queries.get(name)!)])),
      isPacked: parameters.format === "pack-quantized",
    }, { pruner: summedPruner(index, { sums, firstLayerOf, withTargets, signal }, context), signal });
    return layers;
  };
  try {
    const layers = await solve(
      (query) => hasHeldOut && hasTargets ? { target_step: "auto", ...query } : query,
      hasTargets,
    );
    const without = isGuarded ? await solve((query) => withoutTarget(query, true), false) : [];
    const renamed = without.map((layer) => ({ ...layer, name: layer.name + WITHOUT_TARGET }));
    return await uploadParts(encodeBlock({ layers: [...layers, ...renamed] }), result.url, context, signal);
  } catch (error) {
    throw blockError(error);
  }
}

interface SummedLayers {
  readonly sums: BlockSums;
  /** Returns the name of the first layer in the group of a layer. */
  readonly firstLayerOf: (name: string) => string;
  readonly withTargets: boolean;
  readonly signal: AbortSignal;
}

/** Returns the pruner that has the application of the host solve layers by sums. */
function summedPruner(
  block: number,
  { sums, firstLayerOf, withTargets, signal }: SummedLayers,
  { host, runSolve }: TaskContext,
): CalibratedPruner {
  const client = new Pare({ baseUrl: "http://host", application: host });
  const tokensOf = (name: string) =>
    sums.tokens.get(firstLayerOf(name)) ?? { tokens: 0, validation_tokens: 0, isTarget: false };
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
      const sent = withSums(source, async (layers) => {
        const [{ name }] = layers, own = sumsOf(sums, firstLayerOf(name)), { isTarget } = tokensOf(name);
        const weights = new Map(layers.map(({ name, weight }) => [name, weight]));
        const targets = withTargets
          ? await runSolve((backend) => sumTargets(backend, weights, own, isTarget), signal)
          : new Map();
        return withoutEmptySums(
          { sums: own, targets: targetsOf(weights.keys(), targets) },
          layers,
          tokensOf(name),
        );
      });
      return client.pruneModel(sent, query, options);
    },
  };
}
