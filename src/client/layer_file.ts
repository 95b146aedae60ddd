/** The tensors of one layer before and after pruning, and the body of a request to prune it. */

import type { Report } from "../protocol/messages.ts";
import type { LayerInputs, SourceLayer } from "../protocol/run/solve_round.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";

/**
 * The tensors of one layer with `out` output and `in` input features. Exactly one of `hessian`, `hessian_upper` and
 * `inputs` must be given, unless the method needs no statistics or the query names statistics that the host has stored.
 */
export interface LayerTensors {
  /** The weights: (out, in), F32, F16 or BF16. */
  readonly weight: HostTensor;
  /** The sum of x·xᵀ over the calibration inputs x, times any positive factor: (in, in), F32. */
  readonly hessian?: HostTensor;
  /** The upper triangle of `hessian`, packed row by row: (in·(in+1)/2), F32. */
  readonly hessian_upper?: HostTensor;
  /** The calibration inputs: (tokens, in), F32, F16 or BF16. */
  readonly inputs?: HostTensor;
  /**
   * An optional sum of x·xᵀ over inputs that are not in the statistics, times any positive factor: (in, in), F32. It
   * decides between the results of a solve.
   */
  readonly validation_hessian?: HostTensor;
  /** The upper triangle of `validation_hessian`, packed row by row: (in·(in+1)/2), F32. */
  readonly validation_hessian_upper?: HostTensor;
  /** An optional target: Σ y·xᵀ over the inputs x and the outputs y that the layer should have, (out, in), F32. */
  readonly target?: HostTensor;
  /** Σ y·xᵀ over the inputs of `validation_hessian`, (out, in), F32. With it, results are compared with y. */
  readonly validation_target?: HostTensor;
  /** An optional mask of (out, ⌈in/8⌉) U8 bits, or (out, in) BOOL. A weight with the entry 0 is set to zero. */
  readonly mask?: HostTensor;
}

/** The statistics of several layers with the same inputs. */
export type PackedStatistics = Pick<LayerTensors, "hessian_upper" | "validation_hessian_upper">;

/** Returns the statistics of a group as the tensors of a request. */
export function packedStatistics({ hessian, validationHessian }: LayerInputs): PackedStatistics {
  return { hessian_upper: hessian, validation_hessian_upper: validationHessian };
}

/** Returns the tensors of a request that belong to one layer alone. */
export function ownTensors({ weight, mask, target, validationTarget }: SourceLayer): LayerTensors {
  return { weight, mask, target, validation_target: validationTarget };
}

/** A pruned layer with `out` output and `in` input features. */
export interface PrunedLayer {
  /** The new weights: (out, in), in the dtype that the query asked for. With the pattern `columns`, (out, length of `kept`). */
  readonly weight: HostTensor;
  /** The inputs that remain, ascending, U32. Only with the pattern `columns`. */
  readonly kept?: HostTensor;
  /** One bit per weight, 1 where the weight was not pruned: (out, ⌈in/8⌉), U8, least significant bit first. */
  readonly mask: HostTensor;
  /** The codes and the grid of the new weights, if the query has `bits`. */
  readonly quantized?: QuantizedWeight;
  /** The report of the solve. */
  readonly report: Report;
}
