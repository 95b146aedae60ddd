/** The interface of a client that prunes whole models. `Pare`, `PareHosts` and `PareJobs` implement it. */

import type { LayerQuery } from "../protocol/layer_query.ts";
import type { CallOptions } from "./call_options.ts";
import type { PruneEvent } from "./events.ts";
import type { ModelSource } from "./model_source.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";

/** Returns the parameters of the layer `name`. */
export type QueryOf = (name: string) => LayerQuery;

/** Parameters of a model run: one query for all layers, or a function that returns the query of each layer. */
export type ModelQuery = LayerQuery | QueryOf;

/** Prunes whole models. */
export interface ModelPruner<Hessian = HostTensor> {
  /**
   * Prunes the layers of `source` and replaces each weight in `source` as soon as it is solved.
   * @throws {PareError} if the server refuses a layer. Layers that were replaced before stay replaced
   * @throws the signal's reason as soon as the signal is aborted. `source` may still be executing a step at that time
   */
  pruneModel(
    source: ModelSource<Hessian>,
    query?: ModelQuery,
    options?: CallOptions,
  ): AsyncGenerator<PruneEvent, void, void>;
}
