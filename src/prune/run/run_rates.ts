/**
 * Predicts the time of the work that a run has left, from the time of the work that is done. `pare prune` shows this time while it works.
 * `pare prune --plan` measures the rates with a short rehearsal, and predicts a whole run by them.
 */

import { blocksOf, type ModelSpec } from "../../model/families/family.ts";
import { type LinearGroup, stagesOf } from "../../model/layer_specs.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { Pass, SizedLayer } from "../block_plan.ts";
import type { CalibrationStep } from "../calibration_steps.ts";
import type { PhaseSeconds } from "../report/run_seconds.ts";
import type { Lap } from "./lap_clock.ts";

/** Work of a run that is still to be done. */
export interface RunWork {
  /** Forward passes through a block, in order. */
  readonly passes: readonly Pass[];
  /** The number of steps of each pass. */
  readonly batches: number;
  /** The steps of the pass that is running. */
  readonly steps?: { readonly pass: Pass; readonly count: number };
  readonly layers: readonly SizedLayer[];
}

/** The times of the first step of a pass, which also reads the weights of the block, and of its later steps. */
interface StepRates {
  first: Mean;
  later: Mean;
  /** The number of passes that have begun. */
  passes: number;
}

/** The times of the layers of one kind. */
interface LayerRates {
  readonly calibration: Mean;
  readonly layers: Mean;
  /** The sum of `layerWork` of the measured layers. */
  work: number;
  /** Whether only the first layer of the run was measured. */
  readonly isFirst: boolean;
}

/** The measured times of a run. */
export class RunRates {
  readonly #steps: Readonly<Record<Pass, StepRates>> = {
    observe: { first: new Mean(), later: new Mean(), passes: 0 },
    train: { first: new Mean(), later: new Mean(), passes: 0 },
    run: { first: new Mean(), later: new Mean(), passes: 0 },
  };
  readonly #layers = new Map<string, LayerRates>();
  readonly #kinds = new Map<string, string>();
  /** The seconds of the steps since the last layer. */
  #stepSeconds = 0;
  #hasLayer = false;

  /**
   * @param queryOf returns the parameters of a layer. Layers with different methods take different times
   * @param passWork the work of a step of each kind of pass, as {@link countPassWork} returns it
   */
  constructor(
    readonly queryOf: (name: string) => LayerQuery,
    readonly passWork: Readonly<Record<Pass, number>>,
  ) {}

  addStep({ pass, isFirst, seconds }: CalibrationStep): void {
    const rates = this.#steps[pass];
    if (isFirst && ++rates.passes === 2) {
      // The first pass also prepares the kernels, so it is forgotten as soon as there is another.
      rates.first = new Mean();
      rates.later = new Mean();
    }
    rates[isFirst ? "first" : "later"].add(seconds);
    if (pass !== "train") this.#stepSeconds += seconds; // an epoch is not part of the lap of a layer
  }

  /** Adds a solved layer. @param lap the time since the last layer or since the start */
  addLayer(layer: SizedLayer, lap: Lap): void {
    const kind = this.#kindOf(layer);
    let rates = this.#layers.get(kind);
    // The first layer also prepares the kernels, so it is forgotten as soon as there is another of its kind.
    if (!rates || rates.isFirst) {
      rates = { calibration: new Mean(), layers: new Mean(), work: 0, isFirst: !this.#hasLayer };
    }
    rates.layers.add(lap.layers);
    rates.work += layerWork(layer);
    // Before the first layer, the calibration also embeds the windows.
    if (this.#hasLayer) rates.calibration.add(Math.max(0, lap.calibration - this.#stepSeconds));
    this.#layers.set(kind, rates);
    this.#hasLayer = true;
    this.#stepSeconds = 0;
  }

  /** Whether a layer of the kind of `layer` was measured. Otherwise its time is estimated from the other kinds in proportion to its work. */
  hasMeasured(layer: SizedLayer): boolean {
    return this.#layers.has(this.#kindOf(layer));
  }

  /** Returns the seconds that the work takes, or undefined if no layer has been measured. */
  secondsOf(
    { passes, batches, steps, layers }: RunWork,
  ): Pick<PhaseSeconds, "calibration" | "layers" | "reconstruction"> | undefined {
    if (!this.#hasLayer) return undefined;
    const seconds = { calibration: 0, layers: 0, reconstruction: 0 };
    const phaseOf = (pass: Pass) => pass === "train" ? "reconstruction" : "calibration";
    for (const pass of passes) {
      seconds[phaseOf(pass)] += this.#stepSecondsOf(pass, "first") +
        (batches - 1) * this.#stepSecondsOf(pass, "later");
    }
    if (steps) seconds[phaseOf(steps.pass)] += steps.count * this.#stepSecondsOf(steps.pass, "later");
    for (const layer of layers) {
      const rates = this.#layers.get(this.#kindOf(layer));
      seconds.calibration += rates?.calibration.value ?? 0;
      seconds.layers += rates?.layers.value ?? layerWork(layer) * this.#secondsPerWork();
    }
    return seconds;
  }

  /** Returns the seconds in which a batch of windows runs through one block. The first batch also reads the weights of the block. */
  batchSeconds(isFirst: boolean): number {
    return this.#stepSecondsOf("run", isFirst ? "first" : "later");
  }

  /** A pass that was not measured takes as long as another one in proportion to its work, and a later step as long as the first. */
  #stepSecondsOf(pass: Pass, step: "first" | "later"): number {
    for (const measured of [pass, "run", "observe"] as const) {
      const seconds = stepSeconds(this.#steps[measured], step);
      if (seconds !== undefined) return seconds * this.passWork[pass] / this.passWork[measured];
    }
    return 0;
  }

  #secondsPerWork(): number {
    const rates = [...this.#layers.values()];
    return rates.reduce((sum, { layers }) => sum + layers.sum, 0) /
      rates.reduce((sum, { work }) => sum + work, 0);
  }

  /** Layers of one kind take the same time. */
  #kindOf({ name, rows, cols }: SizedLayer): string {
    const known = this.#kinds.get(name);
    if (known !== undefined) return known;
    const { method, refit, effort, bits } = this.queryOf(name);
    const kind = JSON.stringify([rows, cols, method, refit, effort, bits]);
    this.#kinds.set(name, kind);
    return kind;
  }
}

function stepSeconds({ first, later }: StepRates, step: "first" | "later"): number | undefined {
  return (step === "later" ? later.value : undefined) ?? first.value;
}

/**
 * Counts the flops per token of each kind of pass through a block, without attention, as the mean over all blocks. An observing pass
 * leaves out the last layers of the block, and adds one triangle of the statistics of each group. With targets, it also runs through the whole
 * dense block, and adds moments of the smaller of two shapes: moments of the inputs of both blocks, or moments of the outputs and the inputs. An
 * epoch adds two products to each product of the forward pass, for the gradients of its inputs and of its weights.
 */
export function countPassWork(spec: ModelSpec, hasTargets = false): Record<Pass, number> {
  const works = blocksOf(spec).map(({ groups }) => countBlockWork(groups, hasTargets));
  const mean = (pass: Pass) => works.reduce((sum, work) => sum + work[pass], 0) / works.length;
  return { run: mean("run"), train: mean("train"), observe: mean("observe") };
}

function countBlockWork(groups: readonly LinearGroup[], hasTargets: boolean): Record<Pass, number> {
  const products = (some: readonly LinearGroup[]) =>
    some.flat().reduce((sum, { inFeatures, outFeatures }) => sum + 2 * inFeatures * outFeatures, 0);
  const statistics = groups.reduce((sum, [{ inFeatures }]) => sum + inFeatures ** 2, 0);
  const run = products(groups);
  const observed = run - products(stagesOf(groups).at(-1) ?? []);
  const moments = groups.reduce((sum, group) => {
    const [{ inFeatures }] = group, outputs = group.reduce((all, { outFeatures }) => all + outFeatures, 0);
    return sum + 2 * inFeatures * Math.min(inFeatures, outputs);
  }, 0);
  const observe = observed + statistics + (hasTargets ? run + moments : 0);
  return { run, train: 3 * run, observe };
}

/** A mean of numbers. `value` is undefined if there are none. */
class Mean {
  sum = 0;
  #count = 0;

  add(value: number): void {
    this.sum += value;
    this.#count++;
  }

  get value(): number | undefined {
    return this.#count === 0 ? undefined : this.sum / this.#count;
  }
}

/** A number that grows as the flops of a layer, which come from the products with its weights and from the factorisation. */
export function layerWork({ rows, cols }: SizedLayer): number {
  return rows * cols ** 2 + cols ** 3 / 3;
}
