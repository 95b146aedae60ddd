/**
 * The parameters of a layer that this version supports. The schema in `parameters.ts` accepts the whole contract, including values that are
 * not built yet. Here those values are refused, and the defaults that depend on other parameters are filled in.
 */

import { parsePattern, type Pattern } from "../sparsity/pattern.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { DEFAULT_BLOCKSIZE } from "./limits.ts";
import type { ParsedLayerQuery } from "./parameters.ts";
import { Refusal } from "./refusal.ts";

/** The sparsity of a request that gives neither a sparsity nor an n:m pattern. */
const DEFAULT_SPARSITY = 0.5;

/** A method that this version has. */
export type SupportedMethod = "sparsegpt" | "magnitude";

/** The parameters of a layer, all with values that this version supports. */
export interface SupportedParameters {
  readonly method: SupportedMethod;
  /** The fraction of weights to prune. An n:m pattern implies it. */
  readonly sparsity: number;
  readonly pattern: Pattern;
  readonly blocksize: number;
  readonly damping: number;
  readonly relativeError: boolean;
  readonly dtype: "same" | FloatDtype;
  /** The digest of stored statistics, if the request names some. */
  readonly hessian: string | undefined;
}

/**
 * Fills in the defaults that depend on other parameters.
 * @throws {Refusal} `unsupported` if a valid value is not built yet, with the members `parameter` and `value`
 */
export function supportedParameters(query: ParsedLayerQuery): SupportedParameters {
  const { method } = query, unsupported = unsupportedParameter(query);
  if (unsupported || !isSupported(method)) {
    const { parameter, value } = unsupported ?? { parameter: "method", value: method };
    throw new Refusal("unsupported", `${parameter}=${value} is not built yet`, {
      members: { parameter, value },
    });
  }
  const pattern = parsePattern(query.pattern);
  const group = pattern.kind === "n:m" ? pattern.group : 1;
  return {
    method,
    sparsity: pattern.kind === "n:m" ? 1 - pattern.keep / pattern.group : query.sparsity ?? DEFAULT_SPARSITY,
    pattern,
    blocksize: query.blocksize ?? Math.floor(DEFAULT_BLOCKSIZE / group) * group,
    damping: query.damping,
    relativeError: query.error,
    dtype: query.dtype,
    hessian: query.hessian,
  };
}

/** A parameter with a value that is valid but not built yet. */
export interface UnsupportedParameter {
  readonly parameter: keyof ParsedLayerQuery;
  readonly value: string | number | boolean;
}

/** Returns the first parameter whose value is valid but not built yet, or undefined if this version supports all of them. */
export function unsupportedParameter(query: ParsedLayerQuery): UnsupportedParameter | undefined {
  const { method, bits, group_size, symmetric, refit } = query;
  if (!isSupported(method)) return { parameter: "method", value: method };
  if (bits !== undefined) return { parameter: "bits", value: bits };
  if (group_size !== 0) return { parameter: "group_size", value: group_size };
  if (symmetric) return { parameter: "symmetric", value: symmetric };
  if (refit > 0) return { parameter: "refit", value: refit };
}

function isSupported(method: ParsedLayerQuery["method"]): method is SupportedMethod {
  return method === "sparsegpt" || method === "magnitude";
}
