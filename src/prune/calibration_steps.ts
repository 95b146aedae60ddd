/** The progress of a calibration. */

import type { Pass } from "./block_plan.ts";

/** One batch of windows that has run through one block. */
export interface CalibrationStep {
  readonly done: number;
  readonly total: number;
  readonly pass: Pass;
  /** The number of steps of each pass, which is the number of batches of windows. */
  readonly batches: number;
  /** Whether the step is the first of its pass. Only this step reads the weights of the block. */
  readonly isFirst: boolean;
  readonly seconds: number;
}

interface StepOptions {
  readonly progress?: (step: CalibrationStep) => void;
  /** Ends the calibration after the current batch. */
  readonly signal?: AbortSignal;
}

/** Counts and times the steps of a calibration. */
export class StepCounter {
  #done = 0;

  constructor(readonly passes: number, readonly batches: number, readonly options: StepOptions) {}

  /** Begins a pass. The returned function counts one step, reports it, and throws the signal's reason if the signal is aborted. */
  begin(pass: Pass): () => void {
    const { progress, signal } = this.options;
    let isFirst = true, started = performance.now();
    return () => {
      signal?.throwIfAborted();
      const now = performance.now();
      progress?.({
        done: ++this.#done,
        total: this.passes * this.batches,
        pass,
        batches: this.batches,
        isFirst,
        seconds: (now - started) / 1000,
      });
      isFirst = false;
      started = now;
    };
  }
}
