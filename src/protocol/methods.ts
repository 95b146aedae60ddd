/**
 * The table of the pruning methods. The schemas, the rules of the parameters, the client, the options of the command
 * line and the playground follow from it. `layer/methods.ts` has the solver of each method.
 */

import type { LayerQuery } from "./layer_query.ts";
import { DEFAULT_REFIT_STEPS } from "./limits.ts";

interface MethodDeclaration {
  /** The name by which people know the method. */
  readonly title: string;
  /** A few words, which may stand in brackets after the title. */
  readonly summary: string;
  /** The statistics that the choice of the mask uses. A refit and a rounding need statistics as well. */
  readonly statistics: "hessian" | "factor" | "both" | "none";
  /** Whether the choice of the mask does not change the kept weights. Such a method is cheap. */
  readonly keepsWeights?: boolean;
  /** The default of the parameter `refit`. Without it, the default is 0. */
  readonly refitSteps?: number;
  /** The other method whose mask the method refits. With `refit=0` the two methods would be the same. */
  readonly refitOf?: string;
  /** Whether the method has the parameter `effort`. */
  readonly hasEffort?: boolean;
  /** Whether the method can remove whole columns, the pattern `columns`. */
  readonly hasColumns?: boolean;
}

/** The name of a pruning method. The compiler compares the names with the table. */
export type MethodName = "sparsegpt" | "magnitude" | "wanda" | "adaprune" | "obc" | "alps";

/** The methods of the contract by their names, in the order in which documents list them. */
export const METHODS: Readonly<Record<MethodName, MethodDeclaration>> = {
  sparsegpt: { title: "SparseGPT", summary: "one pass", statistics: "factor" },
  magnitude: { title: "Magnitude", summary: "no statistics", statistics: "none", keepsWeights: true },
  wanda: { title: "Wanda", summary: "no update", statistics: "hessian", keepsWeights: true },
  adaprune: {
    title: "AdaPrune",
    summary: "magnitude, then a refit",
    statistics: "hessian",
    refitSteps: DEFAULT_REFIT_STEPS,
    refitOf: "magnitude",
  },
  obc: { title: "ExactOBS", summary: "one weight at a time", statistics: "hessian", hasColumns: true },
  alps: {
    title: "ALPS",
    summary: "slower, a better mask",
    statistics: "both",
    refitSteps: DEFAULT_REFIT_STEPS,
    hasEffort: true,
  },
};

export const METHOD_NAMES = Object.keys(METHODS) as MethodName[];

/** The method of a request that names none. */
export const DEFAULT_METHOD: MethodName = "sparsegpt";

/**
 * The method of `pare prune`. ALPS leaves about half of the error of SparseGPT, and a whole run at the published
 * calibration size takes 11 % longer (`scripts/bench/results/history.md`), because most of its time goes into the statistics. A
 * request for one layer brings its statistics, so its default is the faster method.
 */
export const DEFAULT_MODEL_METHOD: MethodName = "alps";

/**
 * How much work a method with the parameter `effort` may spend. The mask gets more with each effort. Rounded weights are
 * improved after the rounding, except with `fast`.
 */
export type Effort = "fast" | "default" | "best";

export const EFFORTS = ["fast", "default", "best"] as const satisfies readonly Effort[];

/** Whether a method improves the weights that it has rounded. Those without an effort round in one pass, as published. */
export function improvesRounding(method: MethodName, effort: Effort = "default"): boolean {
  return METHODS[method].hasEffort === true && effort !== "fast";
}

/** Returns the names of the methods whose declaration fulfils a condition, as text. */
export function methodsThat(
  fulfil: (method: MethodDeclaration) => unknown,
  conjunction: "and" | "or" = "and",
): string {
  return METHOD_NAMES.filter((name) => fulfil(METHODS[name])).join(` ${conjunction} `);
}

/** Whether the result does not depend on the statistics of the inputs. A refit and a rounding always use them. */
export function needsNoStatistics({ method = DEFAULT_METHOD, refit, bits }: LayerQuery): boolean {
  // A newer server may have more methods.
  const declaration: Partial<typeof METHODS[MethodName]> = METHODS[method] ?? {};
  return declaration.statistics === "none" && !(refit ?? declaration.refitSteps) && bits === undefined;
}
