/** What `Pare.pruneModel` tells as it goes. */

import type { Report } from "../protocol/report.ts";

/** The run begins: how many layers there will be. */
export interface StartEvent {
  readonly type: "start";
  readonly layers: number;
}

/** A layer is solved and replaced in the model. */
export interface LayerEvent {
  readonly type: "layer";
  /** The weight's name in the checkpoint. */
  readonly name: string;
  /** The transformer block it belongs to, from 0. */
  readonly block: number;
  /** Layers done so far, this one included. */
  readonly done: number;
  readonly report: Report;
}

/** Every layer is done. */
export interface DoneEvent {
  readonly type: "done";
  readonly layers: number;
  /** Wall time of the run, calibration included. */
  readonly seconds: number;
}

/** An event of a model run, told apart by `type`. */
export type PruneEvent = StartEvent | LayerEvent | DoneEvent;
