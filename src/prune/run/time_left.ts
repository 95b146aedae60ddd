/** Predicts while a run works how long the rest of it takes. */

import type { ModelSpec } from "../../model/families/family.ts";
import { BlockPlan, linearLayers, type NameSet, type Pass, type SizedLayer } from "../block_plan.ts";
import type { CalibrationStep } from "../calibration_steps.ts";
import { countWindows, type PruneJob } from "./job.ts";
import type { Lap } from "./phase_clock.ts";
import { countPassWork, RunRates } from "./run_rates.ts";

/** The time that a run has left. The final copy of the files is not included. */
export class TimeLeft {
  readonly #job: PruneJob;
  readonly #rates: RunRates;
  readonly #passes: readonly Pass[];
  readonly #pending: Map<string, SizedLayer>;
  #lastStep?: CalibrationStep;

  /** @param finished the layers that an earlier process has pruned */
  constructor(job: PruneJob, finished: NameSet) {
    this.#job = job;
    const hasTargets = job.target === "dense";
    this.#rates = new RunRates((name) => job.queryOf(name), countPassWork(job.model.spec, hasTargets));
    this.#passes = new BlockPlan(job.model.spec, { ...job, hasTargets, finished }).passes(0);
    const pending = linearLayers(job.model.spec)
      .filter(({ name }) => (job.layers?.has(name) ?? true) && !finished.has(name));
    this.#pending = new Map(pending.map((layer) => [layer.name, layer]));
  }

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
      { model: { spec }, evaluatedWindows = [] } = this.#job;
    const left = total - done, whole = Math.floor(left / batches);
    const seconds = this.#rates.secondsOf({
      passes: this.#passes.slice(this.#passes.length - whole),
      batches,
      steps: { pass, count: left % batches },
      layers: [...this.#pending.values()],
    });
    if (!seconds) return undefined;
    return seconds.calibration + seconds.layers + seconds.reconstruction +
      evaluationSeconds(spec, evaluatedWindows, this.#rates, countWindows(this.#job) / batches);
  }
}

/** The perplexity of each text is measured of the dense and of the pruned model. */
const MODELS = 2;

/**
 * Returns the seconds of the evaluation. The head takes the time of a block in proportion to its weights.
 * @param texts the number of windows of each text
 * @param batchWindows the number of windows in a batch of the calibration
 */
export function evaluationSeconds(
  { block, blockCount, head }: ModelSpec,
  texts: readonly number[],
  rates: RunRates,
  batchWindows: number,
): number {
  const size = (linears: readonly { readonly inFeatures: number; readonly outFeatures: number }[]) =>
    linears.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0);
  const blocks = blockCount + size([head]) / size(block.groups.flat());
  const first = rates.batchSeconds(true), later = rates.batchSeconds(false);
  const passes = texts.map((windows) => Math.max(0, first - later) + windows / batchWindows * later);
  return MODELS * blocks * passes.reduce((sum, seconds) => sum + seconds, 0);
}
