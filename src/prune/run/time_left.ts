/** Predicts the time that a run still takes, while the run works. */

import { blocksOf, countWeights, type ModelSpec } from "../../model/families/family.ts";
import { BlockPlan, linearLayers, type NameSet, type Pass, type SizedLayer } from "../block_plan.ts";
import type { CalibrationStep } from "../calibration_steps.ts";
import { countWindows, type PruneJob } from "./job.ts";
import { isRoundedBy } from "./solve_queries.ts";
import type { Lap } from "./lap_clock.ts";
import { countPassWork, layerWork, RunRates } from "./run_rates.ts";

/** The time that a run has left. The final copy of the files is not included. */
export class TimeLeft {
  readonly #rates: RunRates;
  readonly #passes: readonly Pass[];
  readonly #pending: Map<string, SizedLayer>;
  /** Whether a block is solved as a whole before its first layer is stored. */
  readonly #solvesBlocks: boolean;
  /** The layers whose time is still to be added, and the seconds in which they were solved. */
  #solved: { readonly layers: (readonly [SizedLayer, Lap])[]; seconds: number } = { layers: [], seconds: 0 };
  #lastStep?: CalibrationStep;

  /** @param finished the layers that an earlier process has pruned */
  constructor(private readonly job: PruneJob, finished: NameSet) {
    const hasTargets = job.target === "dense";
    this.#rates = new RunRates((name) => job.queryOf(name), countPassWork(job.model.spec, hasTargets));
    const isRounded = isRoundedBy((name) => job.queryOf(name));
    const plan = new BlockPlan(job.model.spec, { ...job, hasTargets, finished, isRounded });
    this.#passes = plan.passes(0);
    this.#solvesBlocks = hasTargets || plan.layersRoundedLast().size > 0;
    const pending = linearLayers(job.model.spec)
      .filter(({ name }) => (job.layers?.has(name) ?? true) && !finished.has(name));
    this.#pending = new Map(pending.map((layer) => [layer.name, layer]));
  }

  addStep(step: CalibrationStep): void {
    this.#rates.addStep(step);
    this.#lastStep = step;
  }

  /**
   * Adds a solved layer, which took `lap`. If a block is solved as a whole, the first of its laps has nearly all of the
   * time. It is then divided among the layers when the last one is added.
   */
  addLayer(name: string, lap: Lap): void {
    const layer = this.#pending.get(name)!, { layers } = this.#solved;
    this.#pending.delete(name);
    layers.push([layer, lap]);
    this.#solved.seconds += lap.layers;
    if (this.#solvesBlocks && [...this.#pending.values()].some(({ block }) => block === layer.block)) return;
    const perWork = this.#solved.seconds / layers.reduce((sum, [layer]) => sum + layerWork(layer), 0);
    for (const [layer, lap] of layers) {
      this.#rates.addLayer(layer, { ...lap, layers: perWork * layerWork(layer) });
    }
    this.#solved = { layers: [], seconds: 0 };
  }

  /** The predicted seconds. Undefined until the first layer is solved. */
  get seconds(): number | undefined {
    if (!this.#lastStep) return undefined;
    const { done, total, pass, batches } = this.#lastStep,
      { model: { spec }, evaluatedWindows = [] } = this.job;
    const left = total - done, whole = Math.floor(left / batches);
    const seconds = this.#rates.secondsOf({
      passes: this.#passes.slice(this.#passes.length - whole),
      batches,
      steps: { pass, count: left % batches },
      layers: [...this.#pending.values()],
    });
    if (!seconds) return undefined;
    return seconds.calibration + seconds.layers + seconds.reconstruction +
      evaluationSeconds(spec, evaluatedWindows, this.#rates, countWindows(this.job) / batches);
  }
}

/** The dense and the pruned model are measured on each text. The head of the dense model runs again beside the head of the pruned model. */
const MODELS = 2, HEADS = 3;

/**
 * Returns the seconds of the evaluation. The head takes the time of a block in proportion to its weights.
 * @param texts the number of windows of each text
 * @param batchWindows the number of windows in a batch of the calibration
 */
export function evaluationSeconds(
  spec: ModelSpec,
  texts: readonly number[],
  rates: RunRates,
  batchWindows: number,
): number {
  const { head, blockCount } = spec;
  const ofBlocks = blocksOf(spec).reduce((sum, block) => sum + countWeights(block), 0);
  const blocks = blockCount * (MODELS + HEADS * head.inFeatures * head.outFeatures / ofBlocks);
  const first = rates.batchSeconds(true), later = rates.batchSeconds(false);
  const passes = texts.map((windows) => Math.max(0, first - later) + windows / batchWindows * later);
  return blocks * passes.reduce((sum, seconds) => sum + seconds, 0);
}
