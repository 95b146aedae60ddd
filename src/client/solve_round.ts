/** The types of solving the layers of one calibration round. */

import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Report } from "../protocol/messages.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { LayerInputs, SourceLayer } from "./model_source.ts";
import type { CallOptions } from "./transport.ts";

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

/** Returns the parameters with which a layer is solved. */
export type LayerQueryOf = (layer: SourceLayer) => LayerQuery;

/** Solves one round and yields each layer once, in any order. To save memory, it requests groups only when needed. */
export type SolveRound<Hessian = HostTensor> = (
  groups: AsyncGenerator<LayerInputs<Hessian>, void, undefined>,
  queryOf: LayerQueryOf,
  options: CallOptions,
) => AsyncGenerator<RoundLayer, void, void>;
