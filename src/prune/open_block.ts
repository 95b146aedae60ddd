/** A block whose layers are solved: its weights before, and the weights that replace them. */

import type { TargetDecision } from "../protocol/blocks/solved_block.ts";
import type { LayerInputs, SourceLayer } from "../protocol/run/solve_round.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import { convertReplacement, readTensor, type TensorSource } from "../model/checkpoint/tensor_source.ts";
import type { LinearSpec } from "../model/layer_specs.ts";
import { bytesToFloats, type FloatDtype } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { transpose } from "../tensor/transpose.ts";
import type { PendingGroup, PendingLayer } from "./block_plan.ts";

/** A group whose statistics are on the device. */
export type CalibratedGroup = LayerInputs<HessianAccumulator>;

export type GroupStatistics = Pick<CalibratedGroup, "hessian" | "validationHessian" | "tokens">;

export interface OpenBlock {
  readonly block: number;
  /** The weights before the solve: the dense checkpoint, or that with the trained tensors of the block. */
  readonly weights: TensorSource;
  /** The pruned weights of the block so far, by name, as they are stored. */
  readonly replaced: Map<string, HostTensor>;
  /** Whether the zeros of `weights` stay zeros. @default false */
  readonly keepsZeros?: boolean;
  /** The decision about the targets of the block, if another process has solved the block and decided. */
  readonly decision?: TargetDecision;
}

/** The statistics of a round. */
export interface CollectedRound {
  /**
   * Returns a group with its statistics, which the solver may take or destroy.
   * @param layers the layers of `pending`
   */
  group(pending: PendingGroup, layers: readonly SourceLayer[]): CalibratedGroup;
  /** Frees the statistics that no solver has taken. */
  destroy(): void;
}

/**
 * Yields the groups of a round when they are requested, with their layers as they are before the solve.
 * @param variantsOf returns the ways in which a layer is to be solved
 */
export async function* groupsOf(
  open: OpenBlock,
  groups: readonly PendingGroup[],
  collected: CollectedRound,
  variantsOf: (layer: SourceLayer) => readonly SourceLayer[],
): AsyncGenerator<CalibratedGroup, void, undefined> {
  for (const pending of groups) {
    yield collected.group(pending, (await readLayers(open, pending.layers)).flatMap(variantsOf));
  }
}

/** Reads the layers of a group as they are before the solve. */
export function readLayers(
  { weights, keepsZeros }: OpenBlock,
  layers: readonly PendingLayer[],
): Promise<SourceLayer[]> {
  return Promise.all(layers.map(async ({ name, linear }) => {
    const weight = await readLayerWeight(weights, name, linear);
    return { name, weight, ...keepsZeros && { mask: maskOf(weight) } };
  }));
}

/** Returns the mask that keeps the zeros of a weight: BOOL, with the shape of the weight. */
function maskOf({ dtype, shape, data }: HostTensor): HostTensor {
  const values = bytesToFloats(data, dtype as FloatDtype); // the weights of linear layers are floats
  return { dtype: "BOOL", shape, data: Uint8Array.from(values, (value) => value === 0 ? 0 : 1) };
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
