/** The types of an allocation, which chooses the sparsity of each layer so that the model as a whole has a given number of zeros. */

import type { Backend } from "../../device/backend.ts";
import type { QueryOf } from "../../protocol/run/solve_round.ts";
import type { Model } from "../../model/model.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import type { SizedLayer } from "../block_plan.ts";
import type { CalibrationOptions, RoundSolver } from "../steps.ts";

/** A way to choose the sparsity of each layer. `uniform` gives all layers the sparsity of the run. */
export type AllocationName = RunOptions["allocate"];

/** The options of the calibration. Only the allocation `error` uses the last four: it compares errors on held-out windows. */
type Calibration = Pick<
  CalibrationOptions,
  | "windows"
  | "hiddenStates"
  | "signal"
  | "validationWindows"
  | "tokenWeightsOf"
  | "expertsAtOnce"
  | "allExperts"
>;

/** The input of an allocation: the model, its layers, and the means to measure the layers. */
export interface AllocationTask extends Calibration {
  readonly model: Model;
  /** The layers over which the zeros are distributed, in the order of the model. There is at least one. */
  readonly layers: readonly SizedLayer[];
  /** The fraction of zeros of all `layers` together. */
  readonly sparsity: number;
  /**
   * Returns the options that each layer will be pruned with. The allocation `error` uses the method, the blocksize and the damping, but
   * replaces slow methods by SparseGPT.
   */
  readonly queryOf: QueryOf;
  readonly backend: Backend;
  /** Solves layers. Only the allocation `error` uses it. */
  readonly pruner: Pick<RoundSolver, "solveRound">;
  /** Called after each step. A step is one batch of windows for `owl`, and one solved layer for `error`. */
  readonly progress?: (done: number, total: number) => void;
}

export interface AllocationRequest extends Pick<AllocationTask, "layers" | "sparsity"> {
  readonly name: Exclude<AllocationName, "uniform">;
}

/** The wanted sparsity of each layer before the numbers of zeros are rounded, in the order of `AllocationTask.layers`. */
export interface WantedSparsities {
  readonly sparsities: readonly number[];
  /** The measurements behind the choice, as sentences for the user. */
  readonly notes: readonly string[];
}

export interface Allocation extends Pick<WantedSparsities, "notes"> {
  readonly name: Exclude<AllocationName, "uniform">;
  /** Maps the name of each layer to its sparsity s. The layer gets round(s·rows·cols) zeros. */
  readonly sparsities: Readonly<Record<string, number>>;
}
