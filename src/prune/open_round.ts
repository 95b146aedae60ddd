/** Opens one calibration round of a model: yields its groups of layers, and accepts pruned weights until its end. */

import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import { convertReplacement, readTensor, type TensorSource } from "../model/checkpoint/tensor_source.ts";
import type { LayerGroup, ModelSource, SourceLayer } from "../client/model_source.ts";
import type { LinearGroup, LinearSpec } from "../model/layer_specs.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { Model } from "../model/model.ts";
import { BlockPlan, type PendingGroup, type PendingLayer } from "./block_plan.ts";
import { bytesToFloats, type FloatDtype } from "../tensor/dtype.ts";
import { transpose } from "../tensor/transpose.ts";

/** Receives each pruned weight, converted to the dtype of the checkpoint. Its memory may be freed after its block. */
export type OnReplace = (name: string, weight: HostTensor) => Promise<unknown>;

export type GroupStatistics = Pick<
  LayerGroup<HessianAccumulator>,
  "hessian" | "validationHessian" | "tokens"
>;

/** The weights of a layer, (outFeatures, inFeatures), which two solves have returned. */
export interface Solutions {
  readonly withTargets: HostTensor;
  readonly without: HostTensor;
}

/** Decides whether the layers of a block move towards their targets. All groups of the block share it. */
export interface TargetGuard {
  /** The decision of an earlier process. If it is undefined, the pruner solves all layers with targets and without. */
  readonly decided: boolean | undefined;
  /** Called once with the solutions of all layers of the block, by name. Returns whether the targets are kept. */
  decide(solved: ReadonlyMap<string, Solutions>): Promise<boolean>;
}

/** A group whose statistics are on the device. */
export interface CalibratedGroup extends LayerGroup<HessianAccumulator> {
  /** Undefined without targets, without held-out windows, and in a true-sequential round. */
  readonly guard?: TargetGuard;
}

/** A model whose statistics are on the device. */
export interface CalibratedModel extends ModelSource<HessianAccumulator> {
  groups(): AsyncGenerator<CalibratedGroup, void, undefined>;
}

/** The block that a round belongs to. */
export interface OpenBlock {
  readonly block: number;
  /** The weights before the solve: the dense checkpoint, or that with the trained tensors of the block. */
  readonly weights: TensorSource;
  /** The pruned weights of the block so far, by name. `replace` adds each pruned weight to this map. */
  readonly replaced: Map<string, HostTensor>;
  /** The new weights that another process has solved, (outFeatures, inFeatures). They take the place of the dense weights. */
  readonly solved?: ReadonlyMap<string, { readonly weight: HostTensor }>;
  /** Called with each pruned weight before it is added to `replaced`. */
  readonly onReplace?: OnReplace;
  /** Whether the zeros of `weights` stay zeros. @default false */
  readonly keepsZeros?: boolean;
}

/** Whether the groups of a round still accept pruned weights. All groups of the round share this object. */
interface RoundStatus {
  acceptsReplacements: boolean;
}

/**
 * Yields the groups of one round in order.
 * @param statisticsOf returns the statistics of a group's input; absent for methods that need none
 * @param guard decides about the targets of the layers
 * @throws {Error} if a layer of the round has not been replaced when the next round is requested
 */
export async function* openRound(
  round: readonly PendingGroup[],
  openBlock: OpenBlock,
  statisticsOf?: (group: LinearGroup) => GroupStatistics,
  guard?: TargetGuard,
): AsyncGenerator<CalibratedGroup, void, undefined> {
  const status: RoundStatus = { acceptsReplacements: true };
  try {
    for (const [index, pending] of round.entries()) {
      const layers = await readLayers(openBlock, pending.layers);
      const statistics = statisticsOf?.(pending.group) ?? {};
      const hasMoreInRound = index < round.length - 1;
      yield openGroup(openBlock, status, pending, { ...statistics, guard, layers, hasMoreInRound });
    }
    requireReplaced(round.flatMap(({ layers }) => layers), openBlock);
  } finally {
    status.acceptsReplacements = false;
  }
}

/**
 * Returns all linear layers in the blocks of `model` as a source without statistics, for magnitude pruning, which needs
 * no forward pass. The layers of a block are one round.
 * @param onReplace called with each replaced weight, in the dtype of the checkpoint
 */
export function uncalibratedModel(
  { spec, weights }: Model,
  onReplace: OnReplace,
): ModelSource<HessianAccumulator> {
  const plan = new BlockPlan(spec, {});
  return {
    layerCount: plan.layerCount,
    async *groups() {
      for (let block = 0; block <= plan.lastBlock; block++) {
        const openBlock = { block, weights, replaced: new Map(), onReplace };
        for (const round of plan.rounds(block)) yield* openRound(round, openBlock);
      }
    },
  };
}

/** Returns a group that accepts the pruned weights of its layers until the end of the round. */
function openGroup(
  { block, weights, replaced, onReplace }: OpenBlock,
  status: RoundStatus,
  pending: PendingGroup,
  group: Omit<CalibratedGroup, "block" | "replace">,
): CalibratedGroup {
  return {
    ...group,
    block,
    async replace(name, weight) {
      if (!status.acceptsReplacements) {
        throw new RangeError(`replace ${name}: the next round has been requested`);
      }
      const layer = pending.layers.find((layer) => layer.name === name);
      if (!layer) {
        const names = pending.layers.map((layer) => layer.name).join(", ");
        throw new RangeError(`replace ${name}: not a layer of this group, whose layers are ${names}`);
      }
      // The next block is calibrated with the weights in the checkpoint's dtype, because that is how they are stored.
      const replacement = storedWeight(weights, name, layer.linear, weight);
      await onReplace?.(name, replacement);
      replaced.set(name, replacement);
    },
  };
}

function readLayers(
  { weights, solved, keepsZeros }: OpenBlock,
  pending: readonly PendingLayer[],
): Promise<SourceLayer[]> {
  return Promise.all(pending.map(async ({ name, linear }) => {
    const weight = solved?.get(name)?.weight ?? await readLayerWeight(weights, name, linear);
    return { name, weight, ...keepsZeros && { mask: maskOf(weight) } };
  }));
}

/** Returns the mask that keeps the zeros of a weight: BOOL, with the shape of the weight. */
function maskOf({ dtype, shape, data }: HostTensor): HostTensor {
  const values = bytesToFloats(data, dtype as FloatDtype); // the weights of linear layers are floats
  return { dtype: "BOOL", shape, data: Uint8Array.from(values, (value) => value === 0 ? 0 : 1) };
}

function requireReplaced(layers: readonly PendingLayer[], { replaced }: OpenBlock): void {
  const missing = layers.find(({ name }) => !replaced.has(name));
  if (missing) {
    throw new Error(`${missing.name}: was not replaced before the next round was requested`);
  }
}

/**
 * Reads the weight of a layer: (outFeatures, inFeatures), in the dtype of the checkpoint.
 * @param name the name of the weight
 * @throws {ModelError} if there is no such tensor
 */
export async function readLayerWeight(
  source: TensorSource,
  name: string,
  linear: LinearSpec,
): Promise<HostTensor> {
  const stored = await readTensor(source, name);
  return linear.isTransposed ? transpose(stored) : stored;
}

/**
 * Returns the weight `name` of shape (outFeatures, inFeatures) as the checkpoint `source` stores it, in its shape and
 * in its dtype.
 * @throws {RangeError} if the weight has another shape
 */
export function storedWeight(
  source: TensorSource,
  name: string,
  linear: LinearSpec,
  weight: HostTensor,
): HostTensor {
  return convertReplacement(source, name, linear.isTransposed ? transpose(weight) : weight);
}
