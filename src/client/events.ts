/** The events that report the progress of pruning a model. `ModelPruner.pruneModel` yields them. */

import type { Report } from "../protocol/messages.ts";

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
