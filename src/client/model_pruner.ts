/** The interface and the events of a client that prunes whole models. */

import type { ModelSource } from "./model_source.ts";
import type { SolveRound } from "./solve_round.ts";
import type { CallOptions } from "./transport.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Report } from "../protocol/messages.ts";
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
  /** Solves the layers of one round. @throws as `pruneModel` */
  readonly solveRound: SolveRound<Hessian>;
}

/** The first event. */
export interface StartEvent {
  /** The kind of the event. */
  readonly type: "start";
  /** Number of layers that will be pruned. */
  readonly layers: number;
}

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

/** The last event: all layers are pruned. */
export interface DoneEvent {
  /** The kind of the event. */
  readonly type: "done";
  /** Number of layers that were pruned. */
  readonly layers: number;
  /** Wall-clock seconds since the start event, including the calibration. */
  readonly seconds: number;
}

/** One event of pruning a model. Its `type` distinguishes the three kinds. */
export type PruneEvent = StartEvent | LayerEvent | DoneEvent;
