/** The interface of a model that the SDK can prune. The statistics may come from any framework. */

import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";

/**
 * A model whose layers can be pruned.
 * @typeParam Hessian the form of the statistics. A client that sends layers to a server needs tensors
 */
export interface ModelSource<Hessian = HostTensor> {
  /** Total number of layers in all groups. */
  readonly layerCount: number;
  /**
   * Yields all groups once, in the order in which they must be pruned. A round is one group, or several that
   * `hasMoreInRound` joins. All layers of a round must be replaced before the next round is requested. If the caller
   * leaves the loop early, the source frees its resources.
   */
  groups(): AsyncGenerator<LayerGroup<Hessian>, void, undefined>;
}

/** Linear layers that share one input and therefore one Hessian, as a solver gets them. */
export interface LayerInputs<Hessian = HostTensor> {
  /** Index of the transformer block that contains the layers, from 0. */
  readonly block: number;
  /**
   * Σ x·xᵀ over the calibration inputs x, times any positive factor: F32 [n(n+1)/2], the upper triangle packed row by
   * row, where n is the number of input features of the layers. Absent for methods that need no statistics.
   */
  readonly hessian?: Hessian;
  /**
   * Σ x·xᵀ over inputs that are not in `hessian`, in the same form. If it is given, it decides between the results of a
   * solve, because the errors on the inputs of `hessian`, to which the results were fitted, are too small.
   */
  readonly validationHessian?: Hessian;
  /**
   * The number of calibration tokens in `hessian`, if only some reach the layers, as for an expert. If it is smaller
   * than the number of input features, the layers get more damping and a note in their reports. If it is 0, `hessian`
   * must be the identity.
   */
  readonly tokens?: number;
  /** The layers. */
  readonly layers: readonly SourceLayer[];
}

/** Linear layers of a source, whose weights can be replaced. */
export interface LayerGroup<Hessian = HostTensor> extends LayerInputs<Hessian> {
  /**
   * Whether the next group belongs to the same calibration round, so that it may be requested and pruned before the
   * layers of this group are replaced. A caller that does so holds the statistics of several groups in memory.
   */
  readonly hasMoreInRound?: boolean;
  /**
   * Replaces the weight of the layer `name` of this group by a pruned weight. A layer may be replaced again.
   * @param quantized the codes and the grid of the weight, if it was quantised. A source may ignore them
   * @param kept the inputs that the weight has, ascending, U32, if its query has the pattern `columns`. The weight is then (out, length of
   *   `kept`), so only a source that knows this parameter can be pruned with this pattern
   * @param mask one bit per weight, 1 where the weight was not pruned: U8 [out, ⌈in/8⌉], if the pruner knows it. Its memory may be freed
   *   after the call
   * @throws {RangeError} if this group has no such layer, if the shape differs, or if the next round has been requested
   */
  replace(
    name: string,
    weight: HostTensor,
    quantized?: QuantizedWeight,
    kept?: HostTensor,
    mask?: HostTensor,
  ): Promise<void>;
}

/** One linear layer before pruning. */
export interface SourceLayer {
  /** Name of the weight in the checkpoint, such as `model.decoder.layers.0.fc1.weight`. */
  readonly name: string;
  /** (out_features, in_features), in the dtype of the checkpoint. */
  readonly weight: HostTensor;
  /** The mask of the request, as in `LayerTensors`. Absent if the method chooses all zeros. */
  readonly mask?: HostTensor;
  /**
   * Σ y·xᵀ over the calibration inputs x and the outputs y that the layer should have, times the factor of the Hessian: F32
   * [out_features, in_features]. Absent if the layer has no target.
   */
  readonly target?: HostTensor;
  /** The same sum over the inputs of the validation Hessian, times its factor. It takes part in the decisions between results. */
  readonly validationTarget?: HostTensor;
  /** Which of two solutions of the layer is wanted, if it is solved with its target and without. */
  readonly solution?: SolutionName;
}

/** The solutions of a layer that has a target. The solver uses the target only for the first one. */
export type SolutionName = "withTargets" | "without";
