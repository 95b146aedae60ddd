/**
 * The types of an allocation: the sparsity of each layer, chosen so that the model as a whole has a given number of zeros. By default every
 * layer has the same sparsity, and no allocation is made.
 */

import type { Backend } from "../../backend/backend.ts";
import type { ModelPruner, QueryOf } from "../../client/model_pruner.ts";
import type { HiddenStatesStorage } from "../../models/hidden_states/hidden_states.ts";
import type { Model } from "../../models/model.ts";
import type { SizedLayer } from "../block_plan.ts";

/** The ways to choose the sparsity of each layer. `uniform` gives all layers the sparsity of the run. */
export const ALLOCATIONS = ["uniform", "owl", "error"] as const;

/** A way to choose the sparsity of each layer. */
export type AllocationName = typeof ALLOCATIONS[number];

/** The model, its layers, and what measuring them needs. */
export interface AllocationTask {
  /** The dense model. */
  readonly model: Model;
  /** The layers that share the zeros, in the order of the model. There is at least one. */
  readonly layers: readonly SizedLayer[];
  /** The fraction of zeros of all `layers` together. */
  readonly sparsity: number;
  /** The parameters of each layer. `error` measures the layers with these parameters, apart from the sparsity. */
  readonly queryOf: QueryOf;
  /** Token ids of the calibration windows. */
  readonly windows: readonly Uint32Array[];
  /** Runs the forward passes. */
  readonly backend: Backend;
  /** Solves layers for `error`. */
  readonly pruner: ModelPruner;
  /** Where the hidden states between blocks are stored. By default, in memory. */
  readonly hiddenStates?: HiddenStatesStorage;
  /** Called after each step: a batch of windows for `owl`, and a solved layer for `error`. */
  readonly progress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** The wanted sparsity of each layer before the numbers of zeros are rounded, in the order of `AllocationTask.layers`. */
export interface WantedSparsities {
  readonly sparsities: readonly number[];
  /** The measurements behind the choice, as sentences for the user. */
  readonly notes: readonly string[];
}

/** The sparsity of each layer, and how it was chosen. */
export interface Allocation {
  readonly name: Exclude<AllocationName, "uniform">;
  /** Maps the name of each layer to its sparsity s. The layer gets round(s·rows·cols) zeros. */
  readonly sparsities: Readonly<Record<string, number>>;
  /** The measurements behind the choice, as sentences for the user. */
  readonly notes: readonly string[];
}
