/** The vocabulary of a run: the layers of a calibration round before and after they are solved. */

import type { HostTensor, QuantizedWeight } from "../../tensor/host_tensor.ts";
import type { LayerQuery } from "../layer_query.ts";
import type { Report } from "../messages.ts";

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
  /** The layers that read these inputs. */
  readonly layers: readonly SourceLayer[];
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

/** A solved layer whose weight has not been replaced in the model yet. */
export interface RoundLayer {
  /** The group that the solver was given, or a copy with its statistics in another form. */
  readonly group: Pick<LayerInputs, "block" | "tokens">;
  /** The layer before it was solved. */
  readonly layer: SourceLayer;
  /** The pruned weight (rows, columns), in the dtype of the answer. */
  readonly weight: HostTensor;
  /** The codes and the grid of the weight, if its query has `bits`. */
  readonly quantized?: QuantizedWeight;
  /** The inputs that remain, if its query has the pattern `columns`. */
  readonly kept?: HostTensor;
  /** The mask of the answer, which is valid until the layer after this one is requested. */
  readonly mask?: HostTensor;
  /** The report of the answer. */
  readonly report: Report;
}

/** Returns the parameters of the layer `name`. */
export type QueryOf = (name: string) => LayerQuery;

/** Returns the parameters with which a layer is solved. */
export type LayerQueryOf = (layer: SourceLayer) => LayerQuery;

/** Solves one round and yields each layer once, in any order. To save memory, it requests groups only when needed. */
export type SolveRound<Hessian = HostTensor> = (
  groups: AsyncGenerator<LayerInputs<Hessian>, void, undefined>,
  queryOf: LayerQueryOf,
  options: { readonly signal?: AbortSignal },
) => AsyncGenerator<RoundLayer, void, void>;

/** A layer was solved, and its weight was replaced in the model. */
export interface LayerEvent {
  /** The kind of the event. */
  readonly type: "layer";
  /** Name of the weight in the checkpoint. */
  readonly name: string;
  /** Index of the transformer block that contains the layer, from 0. */
  readonly block: number;
  /** Number of layers pruned so far, including this one. */
  readonly done: number;
  /** The number of calibration tokens that reached the layer, if only some of the tokens do. */
  readonly tokens?: number;
  /** The report of the solve. */
  readonly report: Report;
}
