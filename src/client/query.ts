/** The parameters of one layer, as a caller writes them; absent ones take the host's defaults. */

import type { FloatDtype } from "../tensor/dtype.ts";

/** `POST /v1/layers` parameters by their names in the contract. */
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
  /** Whether to compute `relative_error`. */
  readonly error?: boolean;
  readonly dtype?: "same" | FloatDtype;
  /** `sha256:HEX` of stored statistics, in place of a statistics tensor. */
  readonly hessian?: string;
}

/** The query string of `query`. */
export function toSearchParams(query: LayerQuery): URLSearchParams {
  const defined = Object.entries(query).filter(([, value]) => value !== undefined);
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)]));
}
