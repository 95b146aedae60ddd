/**
 * What the SDK needs of a model to prune it: its layers, a group at a time, each group with the calibration
 * statistics its layers share. Where they come from (a forward pass here, hooks in another framework) is the
 * implementer's; nothing here reaches GPU code.
 */

import type { HostTensor } from "../tensor/host_tensor.ts";

/** A model that hands out its layers in the order they must be pruned. */
export interface ModelSource {
  /** How many layers `groups` hands out in all. */
  readonly layerCount: number;
  /**
   * The groups, once, in order. Every layer of a group must be replaced before the next group is asked for: later
   * statistics depend on the pruned weights. A group that says `hasMoreInRound` is the exception. Leaving the loop early
   * frees what the source holds.
   */
  groups(): AsyncGenerator<LayerGroup, void, undefined>;
}

/** Linear layers that share one input, and so one Hessian. */
export interface LayerGroup {
  /** The transformer block they are in, from 0. */
  readonly block: number;
  /** Σ x xᵀ times a positive factor: F32 [n(n+1)/2], the row-major packed upper triangle, n the layers' in_features. */
  readonly hessian: HostTensor;
  readonly layers: readonly SourceLayer[];
  /**
   * True: the next group is of the same calibration round, so that it may be asked for, and pruned, before these layers are
   * replaced. Those of the round's groups must all be when a group without it is left behind. Who asks early holds the
   * statistics of several groups.
   */
  readonly hasMoreInRound?: boolean;
  /**
   * Puts a pruned weight in the place of the layer `name` of this group, once or again.
   * @throws {RangeError} no such layer here, or not its shape, or a group of the next round has been asked for
   */
  replace(name: string, weight: HostTensor): Promise<void>;
}

/** One linear layer as it came. */
export interface SourceLayer {
  /** The name of its weight in the checkpoint, `model.decoder.layers.0.fc1.weight`. */
  readonly name: string;
  /** (out_features, in_features), in the checkpoint's dtype. */
  readonly weight: HostTensor;
}
