/**
 * The cells of the solvers bench. A cell is one method at one target. A target says how many weights are
 * pruned, and to how many bits the kept weights are rounded.
 */

import type { LayerQuery } from "../../../../src/protocol/layer_query.ts";

/** A method with its parameters. */
export interface Method {
  readonly title: string;
  readonly query: LayerQuery;
}

/** A target with its parameters. */
export interface Target {
  readonly title: string;
  readonly query: LayerQuery;
}

/** One method at one target. */
export interface Cell {
  readonly method: string;
  readonly target: string;
  readonly query: LayerQuery;
}

/** The method to which all others are compared. Their errors are divided by its error. */
export const BASELINE = "SparseGPT";

/** The methods that prune, from the cheapest to the most expensive. */
export const METHODS: readonly Method[] = [
  { title: "magnitude", query: { method: "magnitude" } },
  { title: "Wanda", query: { method: "wanda" } },
  { title: "AdaPrune", query: { method: "adaprune" } },
  { title: BASELINE, query: { method: "sparsegpt" } },
  { title: "SparseGPT + refit", query: { method: "sparsegpt", refit: 10 } },
  { title: "ALPS fast", query: { method: "alps", effort: "fast" } },
  { title: "ALPS default", query: { method: "alps", effort: "default" } },
  { title: "ALPS best", query: { method: "alps", effort: "best" } },
  { title: "OBC", query: { method: "obc" } },
];

/** The targets that prune without rounding. */
export const TARGETS: readonly Target[] = [
  { title: "50 %", query: { sparsity: 0.5 } },
  { title: "60 %", query: { sparsity: 0.6 } },
  { title: "70 %", query: { sparsity: 0.7 } },
  { title: "2:4", query: { pattern: "2:4" } },
  { title: "4:8", query: { pattern: "4:8" } },
];

/** The methods that are measured with rounding as well. */
export const JOINT_METHODS: readonly string[] = [BASELINE, "SparseGPT + refit", "ALPS default", "ALPS best"];

/** The targets that prune and round the kept weights to one grid per output row. */
export const JOINT_TARGETS: readonly Target[] = [
  { title: "50 % + 4 bit", query: { sparsity: 0.5, bits: 4 } },
  { title: "2:4 + 4 bit", query: { pattern: "2:4", bits: 4 } },
];

/** The name of the method that rounds without pruning. */
export const GPTQ = "GPTQ";

/** The targets of GPTQ, which only rounds. Each output row has one grid. */
export const ROUNDING_TARGETS: readonly Target[] = [
  { title: "4 bit", query: { bits: 4 } },
  { title: "3 bit", query: { bits: 3 } },
  { title: "2 bit", query: { bits: 2 } },
];

/** Lists all cells, in the order in which they are measured. */
export function listCells(): Cell[] {
  const pruning = METHODS.flatMap((method) => TARGETS.map((target) => cellOf(method, target)));
  const joint = METHODS.filter(({ title }) => JOINT_METHODS.includes(title))
    .flatMap((method) => JOINT_TARGETS.map((target) => cellOf(method, target)));
  const gptq = { title: GPTQ, query: { method: "sparsegpt", sparsity: 0 } } as const;
  return [...pruning, ...joint, ...ROUNDING_TARGETS.map((target) => cellOf(gptq, target))];
}

function cellOf(method: Method, target: Target): Cell {
  return { method: method.title, target: target.title, query: { ...method.query, ...target.query } };
}
