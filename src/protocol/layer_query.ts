/**
 * The type of the parameters of one layer, for code that sends requests. The server checks the parameters by the schema in `parameters.ts`.
 * A test fails if the type and the schema have different names or types.
 */

import type { PatternText } from "../sparsity/pattern.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { DEFAULT_METHOD, type Effort, type MethodName, METHODS } from "./methods.ts";

/** The parameters of `POST /v1/layers`, by their names in the contract. The server fills in defaults for those that are absent. */
export interface LayerQuery {
  /** The method that chooses and updates the weights. The default is `sparsegpt`. The reference of the API, `/docs`, lists the methods. */
  readonly method?: MethodName;
  /** The fraction s of weights to prune, 0 ≤ s < 1. The default is 0.5. May be omitted if `pattern` is n:m, which implies it. */
  readonly sparsity?: number;
  /** `unstructured`, which is the default, or `n:m`, which keeps at most n of every m consecutive inputs, 1 ≤ n < m ≤ 128. */
  readonly pattern?: PatternText;
  /**
   * The number of columns per block of the solve, from 1 to 256, a multiple of m if the pattern is n:m. The default is the largest multiple up
   * to 128.
   */
  readonly blocksize?: number;
  /** 0 ≤ λ ≤ 1. λ times the mean of the Hessian's diagonal is added to the diagonal. The default is 0.01. */
  readonly damping?: number;
  /** Rounds the kept weights to a grid of 2^bits values, from 2 to 8. Without it, weights are not rounded. */
  readonly bits?: number;
  /** The number of columns that share a grid, from 0 to 256. 0, the default, means a whole row. Needs `bits`. */
  readonly group_size?: number;
  /** Whether the grid is symmetric about 0. The default is false. Needs `bits`. */
  readonly symmetric?: boolean;
  /** The order in which columns are rounded. `activation` starts with the largest inputs. The default is `natural`. Needs `bits`. */
  readonly order?: "natural" | "activation";
  /**
   * Conjugate-gradient steps on the chosen mask, from 0 to 1000. The default is 10 or 0, which depends on the method.
   */
  readonly refit?: number;
  /** How much work to spend on the mask, for methods that have this parameter. The default is `default`. */
  readonly effort?: Effort;
  /** Whether to compute `relative_error`, which costs one more matrix product. The default is true. */
  readonly error?: boolean;
  /** The dtype of the weights in the answer. `same`, the default, is that of the request. */
  readonly dtype?: "same" | FloatDtype;
  /** `sha256:HEX` of statistics that the host stores, as `Pare.putHessian` returns it. Sent instead of a statistics tensor. */
  readonly hessian?: string;
}

/** Whether the statistics of the inputs change nothing in the pruned weights. The refit and the rounding need statistics, whatever the method. */
export function needsNoStatistics({ method = DEFAULT_METHOD, refit, bits }: LayerQuery): boolean {
  const declaration: Partial<typeof METHODS[MethodName]> = METHODS[method] ?? {}; // a newer server may have more methods
  return declaration.statistics === "none" && !(refit ?? declaration.refitSteps) && bits === undefined;
}

/** Returns `query` as the query string of `POST /v1/layers`. Parameters that are undefined are left out. */
export function layerSearchParams(query: LayerQuery): URLSearchParams {
  const defined = Object.entries(query).filter(([, value]) => value !== undefined);
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)]));
}
