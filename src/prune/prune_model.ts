/**
 * A checkpoint as a source of layers to prune, calibrated as the SparseGPT paper does it, block by block: one forward of all
 * calibration windows through the dense block accumulates the Hessian of each linear layer's input; its layers are
 * handed out and replaced; a second forward, through the pruned block, makes the inputs of the next. What was chosen,
 * and what a killed run has done, decides which of it is left out. Pruning itself is the consumer's, here or over HTTP.
 */

import type { Backend } from "../backend/backend.ts";
import { HessianAccumulator } from "../calibration/hessian.ts";
import type { LayerGroup, ModelSource, SourceLayer } from "../client/model_source.ts";
import type { LinearGroup } from "../models/families/layer_specs.ts";
import { Forward, type ForwardMemory } from "../models/forward.ts";
import type { StatesKeeping } from "../models/hidden_states/hidden_states.ts";
import type { Model } from "../models/model.ts";
import { overlay, readTensor, type TensorSource } from "../checkpoint/tensor_source.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { BlockPlan, type NameSet, type PendingGroup } from "./block_plan.ts";
import { type GroupContext, OpenGroup, requireReplaced } from "./open_group.ts";

/** What a model is calibrated on, and who hears of it. */
export interface CalibrationOptions {
  /** Token ids, all windows of one length. */
  readonly windows: readonly Uint32Array[];
  /** The names of the weights to prune; every linear layer's unless given. */
  readonly layers?: NameSet;
  /** Calibrate each group of a block behind the pruned ones before it: a forward a group. */
  readonly trueSequential?: boolean;
  /** Is handed each replacement, in the dtype of the original: writes the pruned checkpoint. */
  readonly onReplace?: (name: string, weight: HostTensor) => Promise<void>;
  /** What an earlier run with the same options has replaced. Its states, if it kept any, must be those in `keeping`. */
  readonly finished?: FinishedLayers;
  /** Where hidden states are kept, so that a run that is killed goes on from its block. */
  readonly keeping?: StatesKeeping;
  /** Told how much of the forwards is done: `total` steps are a batch of windows through a block. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  /** Checked between batches. */
  readonly signal?: AbortSignal;
}

/** Layers replaced by an earlier run. */
export interface FinishedLayers extends NameSet {
  /** The replacement, as `onReplace` was handed it. */
  read(name: string): Promise<HostTensor>;
}

/**
 * The layers of `model` with their statistics.
 * Its `groups` throws RangeError for windows the model cannot take, Error where a layer was not replaced.
 */
export function calibratedModel(model: Model, backend: Backend, options: CalibrationOptions): ModelSource {
  const plan = new BlockPlan(model.spec, options);
  return { layerCount: plan.layerCount, groups: () => groups(model, backend, plan, options) };
}

async function* groups(
  model: Model,
  backend: Backend,
  plan: BlockPlan,
  options: CalibrationOptions,
): AsyncGenerator<LayerGroup, void, undefined> {
  if (plan.layerCount === 0) return;
  const { memory, keeping, trueSequential } = options;
  const forward = await Forward.begin(backend, model, options.windows, { ...memory, keeping });
  try {
    const firstBlock = forward.states.block;
    const step = stepCounter(plan.passes(firstBlock) * forward.states.batches.length, options);
    for (let block = firstBlock; block <= plan.lastBlock; block++) {
      const replaced = await readFinished(plan.finished(block), options);
      const weights = overlay(model.weights, replaced);
      const context = { block, weights: model.weights, replaced, onReplace: options.onReplace };
      for (const round of plan.rounds(block)) {
        yield* handOut(forward, round, context, trueSequential ? weights : model.weights, step);
      }
      // Nothing comes after the last block's outputs.
      if (block < plan.lastBlock) await forward.runBlock(block, step, weights);
    }
  } finally {
    forward.destroy();
  }
}

/**
 * Calibrates the groups of a round by one forward through the block with `weights`, then hands them out in order. A group that is
 * handed out is the consumer's: nothing of it is kept here.
 */
async function* handOut(
  forward: Forward,
  round: readonly PendingGroup[],
  context: GroupContext,
  weights: TensorSource,
  step: () => void,
): AsyncGenerator<OpenGroup, void, undefined> {
  const hessians = await accumulate(forward, round, context.block, weights, step);
  const gate = { open: true };
  try {
    for (const [index, { group, names }] of round.entries()) {
      const hessian = hessians.get(group)!; // `accumulate` made one for each
      const layers = await readLayers(context.weights, names);
      const upper = await hessian.packedUpper();
      hessian.destroy();
      yield new OpenGroup(upper, layers, index < round.length - 1, context, gate);
    }
    requireReplaced(round.flatMap(({ names }) => names), context);
  } finally {
    gate.open = false;
    for (const hessian of hessians.values()) hessian.destroy();
  }
}

/** The Hessians of the groups of a round. */
async function accumulate(
  forward: Forward,
  round: readonly PendingGroup[],
  block: number,
  weights: TensorSource,
  step: () => void,
): Promise<Map<LinearGroup, HessianAccumulator>> {
  const hessians = new Map<LinearGroup, HessianAccumulator>();
  try {
    for (const { group } of round) {
      const [{ name, inFeatures }] = group;
      hessians.set(group, new HessianAccumulator(forward.backend, `hessian ${name}`, inFeatures));
    }
    await forward.observeBlock(block, (group, x, rows) => hessians.get(group)?.add(x, rows), step, weights);
  } catch (error) {
    for (const hessian of hessians.values()) hessian.destroy();
    throw error;
  }
  return hessians;
}

function readLayers(weights: TensorSource, names: readonly string[]): Promise<SourceLayer[]> {
  return Promise.all(names.map(async (name) => ({ name, weight: await readTensor(weights, name) })));
}

async function readFinished(
  names: readonly string[],
  { finished }: CalibrationOptions,
): Promise<Map<string, HostTensor>> {
  const replaced = new Map<string, HostTensor>();
  if (finished) { for (const name of names) replaced.set(name, await finished.read(name)); }
  return replaced;
}

function stepCounter(total: number, { progress, signal }: CalibrationOptions): () => void {
  let done = 0;
  return () => {
    signal?.throwIfAborted();
    progress?.(++done, total);
  };
}
