/** The cells of the bench `solvers`, their figures, and the comparison of errors. A cell is one method at one target, such as 50 %. */

import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { type Target, TARGETS } from "../measure/targets.ts";

/** One method at one target. */
export interface Cell {
  readonly method: string;
  readonly target: string;
  readonly query: LayerQuery;
}

/** The method to which all others are compared. Their errors are divided by its error. */
export const BASELINE = "SparseGPT";

/** The method that only rounds. */
const GPTQ = "GPTQ";

/** The targets that prune without rounding. */
export const PRUNING: readonly Target[] = [
  TARGETS["50"],
  TARGETS["60"],
  TARGETS["70"],
  TARGETS["2:4"],
  TARGETS["4:8"],
];
/** The targets that prune, and round the kept weights. */
const JOINT: readonly Target[] = [TARGETS["50+4bit"], TARGETS["2:4+4bit"]];
/** The targets that round, with one grid per output row. */
const ROUNDING: readonly Target[] = [TARGETS["4bit"], TARGETS["3bit"], TARGETS["2bit"]];
export const WITH_ROUNDING = [...JOINT, ...ROUNDING];

/** The methods, from the cheapest to the most expensive, and the targets at which each is measured. */
const METHODS: readonly { title: string; query: LayerQuery; targets: readonly Target[] }[] = [
  { title: "magnitude", query: { method: "magnitude" }, targets: PRUNING },
  { title: "Wanda", query: { method: "wanda" }, targets: PRUNING },
  { title: "AdaPrune", query: { method: "adaprune" }, targets: PRUNING },
  { title: BASELINE, query: { method: "sparsegpt" }, targets: [...PRUNING, ...JOINT] },
  { title: "SparseGPT + refit", query: { method: "sparsegpt", refit: 10 }, targets: [...PRUNING, ...JOINT] },
  { title: "ALPS fast", query: { method: "alps", effort: "fast" }, targets: PRUNING },
  { title: "ALPS default", query: { method: "alps", effort: "default" }, targets: [...PRUNING, ...JOINT] },
  { title: "ALPS best", query: { method: "alps", effort: "best" }, targets: [...PRUNING, ...JOINT] },
  { title: "OBC", query: { method: "obc" }, targets: PRUNING },
  { title: GPTQ, query: { method: "sparsegpt" }, targets: ROUNDING },
];

/** The titles of all methods. */
export const METHOD_TITLES = METHODS.map(({ title }) => title);
/** The titles of the methods that prune. */
export const PRUNING_METHODS = METHOD_TITLES.filter((title) => title !== GPTQ);

export function listCells(): Cell[] {
  return METHODS.flatMap(({ title: method, query, targets }) =>
    targets.map((target) => ({ method, target: target.title, query: { ...query, ...target.query } }))
  );
}

/** The figures of one cell on one model. */
export interface CellResult {
  readonly method: string;
  readonly target: string;
  /**
   * The relative errors tr(ΔHΔᵀ)/tr(WHWᵀ) of the layers, in the order of `ModelResult.layers`. W is the dense weight, Δ is its
   * change, and H = Σ x·xᵀ over the layer's inputs x in the dense model. An error is null if the method refuses the layer.
   */
  readonly errors: readonly (number | null)[];
  /** The reason why the method refused a layer. The whole model is not pruned then. Absent if all layers were solved. */
  readonly refused?: string;
  /** The perplexity after the model was pruned block by block. Null if the method refuses at least one layer. */
  readonly perplexity: number | null;
  /** The seconds of the factorisations, solves and refits of all layers, in the run that pruned the whole model. */
  readonly solveSeconds: number | null;
}

export interface ModelResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  readonly dense: number;
  /** The names of the weights of all linear layers in the transformer blocks. */
  readonly layers: readonly string[];
  readonly cells: readonly CellResult[];
}

export interface SolverResults {
  readonly models: readonly ModelResult[];
}

/** Returns `result` without the figures of `cells`, so that these cells are measured again. */
export function withoutCells(result: ModelResult, cells: readonly Cell[]): ModelResult {
  const isListed = (measured: CellResult) =>
    cells.some(({ method, target }) => measured.method === method && measured.target === target);
  return { ...result, cells: result.cells.filter((measured) => !isListed(measured)) };
}

/** Returns the figures of one cell, or undefined if they were not measured. */
export function findCell({ cells }: ModelResult, method: string, target: string): CellResult | undefined {
  return cells.find((cell) => cell.method === method && cell.target === target);
}

/** The errors of one method at one target, each divided by SparseGPT's error of the same layer. */
interface ErrorRatios {
  readonly geometricMean: number;
  /** The largest ratio, and the layer that has it. */
  readonly worst: { readonly ratio: number; readonly layer: string };
}

/**
 * Compares the errors of all layers of `models` with SparseGPT's.
 * @returns the ratios, or undefined if an error was not measured because a cell is missing or a layer was
 * refused
 */
export function errorRatios(
  models: readonly ModelResult[],
  method: string,
  target: string,
): ErrorRatios | undefined {
  const ratios: { ratio: number; layer: string }[] = [];
  for (const model of models) {
    const errors = findCell(model, method, target)?.errors;
    const baseline = findCell(model, BASELINE, target)?.errors;
    if (!errors || !baseline) return undefined;
    for (const [i, layer] of model.layers.entries()) {
      const error = errors[i], reference = baseline[i];
      if (error === null || reference === null) return undefined;
      ratios.push({ ratio: error / reference, layer: `${model.name} ${layer}` });
    }
  }
  if (ratios.length === 0) return undefined;
  const logarithms = ratios.reduce((total, { ratio }) => total + Math.log(ratio), 0);
  return {
    geometricMean: Math.exp(logarithms / ratios.length),
    worst: ratios.reduce((worst, next) => next.ratio > worst.ratio ? next : worst),
  };
}
