/** Predicts while a run works how long the rest of it takes. */

import {
  BlockPlan,
  linearLayers,
  type NameSet,
  type Pass,
  type SizedLayer,
} from "../../../prune/block_plan.ts";
import type { CalibrationStep } from "../../../prune/calibrated_model.ts";
import type { Lap } from "../../../prune/phase_clock.ts";
import { countPassWork, RunRates } from "../../../prune/run_rates.ts";
import type { Model } from "../../../models/model.ts";
import type { LayerQuery } from "../../../protocol/layer_query.ts";
import { evaluationSeconds } from "./evaluation_seconds.ts";

/** The run whose time is predicted. `PruneJob` describes the fields. */
export interface PredictedRun {
  readonly model: Model;
  readonly windows: readonly Uint32Array[];
  readonly evaluatedWindows?: readonly number[];
  readonly layers: NameSet;
  readonly trueSequential?: boolean;
  queryOf(name: string): LayerQuery;
}

/** The time that a run has left. The final copy of the files is not included. */
export class TimeLeft {
  readonly #job: PredictedRun;
  readonly #rates: RunRates;
  readonly #passes: readonly Pass[];
  readonly #pending: Map<string, SizedLayer>;
  #lastStep?: CalibrationStep;

  /** @param finished the layers that an earlier process has pruned */
  constructor(job: PredictedRun, finished: NameSet) {
    this.#job = job;
    this.#rates = new RunRates((name) => job.queryOf(name), countPassWork(job.model.spec));
    this.#passes = new BlockPlan(job.model.spec, { ...job, finished }).passes(0);
    const pending = linearLayers(job.model.spec)
      .filter(({ name }) => job.layers.has(name) && !finished.has(name));
    this.#pending = new Map(pending.map((layer) => [layer.name, layer]));
  }

  /** Adds a step of the calibration. */
  addStep(step: CalibrationStep): void {
    this.#rates.addStep(step);
    this.#lastStep = step;
  }

  /** Adds a solved layer, which took `lap`. */
  addLayer(name: string, lap: Lap): void {
    this.#rates.addLayer(this.#pending.get(name)!, lap);
    this.#pending.delete(name);
  }

  /** The seconds. Undefined as long as no layer is solved. */
  get seconds(): number | undefined {
    if (!this.#lastStep) return undefined;
    const { done, total, pass, batches } = this.#lastStep,
      { model: { spec }, windows, evaluatedWindows = [] } = this.#job;
    const left = total - done, whole = Math.floor(left / batches);
    const seconds = this.#rates.secondsOf({
      passes: this.#passes.slice(this.#passes.length - whole),
      batches,
      steps: { pass, count: left % batches },
      layers: [...this.#pending.values()],
    });
    if (!seconds) return undefined;
    return seconds.calibration + seconds.layers +
      evaluationSeconds(spec, evaluatedWindows, this.#rates, windows.length / batches);
  }
}
