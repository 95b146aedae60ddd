/**
 * The type of the parameters of one layer, for code that sends requests. The server checks the parameters by the schema in `parameters.ts`.
 * A test fails if the type and the schema have different names or types.
 */

import type { FloatDtype } from "../tensor/dtype.ts";

/** The parameters of `POST /v1/layers`, by their names in the contract. The server fills in defaults for those that are absent. */
export interface LayerQuery {
  readonly method?: "sparsegpt" | "magnitude" | "wanda" | "adaprune" | "obc" | "alps";
  /** 0 ≤ s < 1. */
  readonly sparsity?: number;
  /** `unstructured` or `n:m`. */
  readonly pattern?: string;
  readonly blocksize?: number;
  readonly damping?: number;
  readonly bits?: number;
  readonly group_size?: number;
  readonly symmetric?: boolean;
  readonly refit?: number;
  /** Whether the report has `relative_error`. */
  readonly error?: boolean;
  readonly dtype?: "same" | FloatDtype;
  /** `sha256:HEX` of stored statistics, sent instead of a statistics tensor. */
  readonly hessian?: string;
}

/** Returns `query` as the query string of `POST /v1/layers`. Parameters that are undefined are left out. */
export function layerSearchParams(query: LayerQuery): URLSearchParams {
  const defined = Object.entries(query).filter(([, value]) => value !== undefined);
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)]));
}
