/**
 * The type of the parameters of one layer, for code that sends requests. The server checks the parameters by the schema in `parameters.ts`.
 * A test fails if the type and the schema have different names or types.
 */

import type { FloatDtype } from "../tensor/dtype.ts";

/** The parameters of `POST /v1/layers`, by their names in the contract. The server fills in defaults for those that are absent. */
export interface LayerQuery {
  /** The solver. */
  readonly method?: "sparsegpt" | "magnitude" | "wanda" | "adaprune" | "obc" | "alps";
  /** The fraction s of weights to prune, 0 ≤ s < 1. */
  readonly sparsity?: number;
  /** `unstructured`, or `n:m`, which keeps at most n of every m consecutive inputs. */
  readonly pattern?: string;
  /** The number of columns per block of the solve, a multiple of m if the pattern is n:m. */
  readonly blocksize?: number;
  /** 0 ≤ λ ≤ 1. λ times the mean of the Hessian's diagonal is added to the diagonal. */
  readonly damping?: number;
  /** Rounds the kept weights to a grid of 2^bits values, from 2 to 8. */
  readonly bits?: number;
  /** The number of columns that share a grid. 0, the default, means a whole row. */
  readonly group_size?: number;
  /** Whether the grid is symmetric about 0. */
  readonly symmetric?: boolean;
  /** The order in which columns are rounded. `activation` starts with the largest inputs. */
  readonly order?: "natural" | "activation";
  /** Conjugate-gradient steps on the chosen mask. The default is 10 for `adaprune` and `alps`, and 0 for the other methods. */
  readonly refit?: number;
  /** How much work `alps` spends on the mask. */
  readonly effort?: "fast" | "default" | "best";
  /** Whether to compute `relative_error`, which costs one more matrix product. */
  readonly error?: boolean;
  /** The dtype of the weights in the answer. `same` is that of the request. */
  readonly dtype?: "same" | FloatDtype;
  /** `sha256:HEX` of stored statistics, sent instead of a statistics tensor. */
  readonly hessian?: string;
}

/** Whether the statistics of the inputs change nothing in the pruned weights. The refit and the rounding need statistics, whatever the method. */
export function needsNoStatistics({ method, refit = 0, bits }: LayerQuery): boolean {
  return method === "magnitude" && refit === 0 && bits === undefined;
}

/** Returns `query` as the query string of `POST /v1/layers`. Parameters that are undefined are left out. */
export function layerSearchParams(query: LayerQuery): URLSearchParams {
  const defined = Object.entries(query).filter(([, value]) => value !== undefined);
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)]));
}
