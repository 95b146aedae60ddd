/**
 * The parameters of one layer, as a server checks them. They come from the query string of `POST /v1/layers`, or from the member `parameters`
 * of a layer in a job (`POST /v1/jobs`). The schema `layerQuerySchema` accepts every value that the contract allows, even if it is not built
 * yet. `supportedParameters` then refuses the values that are not built yet, and fills in the defaults that depend on other parameters.
 */

import { z } from "zod";
import { MAX_GROUP, parsePattern, type Pattern } from "../sparsity/pattern.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { digestSchema } from "./digest.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING, MAX_BLOCKSIZE, MAX_DAMPING, MAX_REFIT_STEPS } from "./limits.ts";
import { Refusal } from "./refusal.ts";

const METHODS = ["sparsegpt", "magnitude", "wanda", "adaprune", "obc", "alps"] as const;

/**
 * The largest accepted difference between `sparsity` and the sparsity that an n:m pattern implies. It allows for rounded decimals such as
 * 0.333333.
 */
const SPARSITY_TOLERANCE = 1e-5;

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Returns a schema that accepts numbers and their decimal text, because a query string has only text. The number must fit `schema`. */
function numeric<T extends z.ZodType>(schema: T) {
  return z.preprocess(
    (value) => typeof value === "string" && DECIMAL.test(value) ? Number(value) : value,
    schema,
  );
}

/** Accepts a boolean, or the text "true" or "false". */
const flag = z.preprocess(
  (value) => value === "true" ? true : value === "false" ? false : value,
  z.boolean(),
);

const patternText = z.string().superRefine((text, context) => {
  try {
    parsePattern(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
});

/** The schema of all parameters. Numbers and booleans may be given as text. Unknown names are refused. */
export const layerQuerySchema = z.strictObject({
  method: z.enum(METHODS).default("sparsegpt"),
  sparsity: numeric(z.number().min(0).lt(1)).optional().meta({
    description: "The fraction of weights to prune. Defaults to 0.5. May be omitted with an n:m pattern",
  }),
  pattern: patternText.default("unstructured").meta({
    description:
      `unstructured, or n:m, which keeps at most n of every m consecutive inputs, 1 ≤ n < m ≤ ${MAX_GROUP}`,
  }),
  blocksize: numeric(z.int().min(1).max(MAX_BLOCKSIZE)).optional().meta({
    description:
      `Columns per block, a multiple of m. Defaults to the largest multiple of m up to ${DEFAULT_BLOCKSIZE}`,
  }),
  damping: numeric(z.number().min(0).max(MAX_DAMPING)).default(DEFAULT_DAMPING).meta({
    description: "λ. λ times the mean of the Hessian's diagonal is added to the diagonal",
  }),
  bits: numeric(z.int().min(2).max(8)).optional().meta({
    description: "Round the kept weights to a grid of 2^bits values",
  }),
  group_size: numeric(z.int().min(0)).default(0).meta({
    description: "Columns per quantisation group. 0 means a whole row",
  }),
  symmetric: flag.default(false).meta({ description: "Whether the quantisation grid is symmetric about 0" }),
  refit: numeric(z.int().min(0).max(MAX_REFIT_STEPS)).default(0).meta({
    description: "Conjugate-gradient steps on the chosen mask after the solve",
  }),
  error: flag.default(true).meta({
    description: "Whether to compute relative_error, which costs one more matrix product",
  }),
  dtype: z.enum(["same", "F32", "F16", "BF16"]).default("same").meta({
    description: "The dtype of the weights in the answer. same is that of the request",
  }),
  hessian: digestSchema.optional().meta({
    description: "The digest of stored statistics, sent instead of a statistics tensor",
  }),
}).superRefine((query, context) => {
  const pattern = parsePatternOrUndefined(query.pattern);
  if (pattern?.kind !== "n:m") return;
  const implied = 1 - pattern.keep / pattern.group;
  if (query.sparsity !== undefined && Math.abs(query.sparsity - implied) > SPARSITY_TOLERANCE) {
    context.addIssue({
      code: "custom",
      path: ["sparsity"],
      message: `${query.sparsity} contradicts pattern ${query.pattern}, which prunes ${implied}: omit it`,
    });
  }
  if (query.blocksize !== undefined && query.blocksize % pattern.group !== 0) {
    context.addIssue({
      code: "custom",
      path: ["blocksize"],
      message:
        `${query.blocksize} is not a multiple of ${pattern.group}, the group of pattern ${query.pattern}`,
    });
  }
});

/** Valid parameters, with the defaults that do not depend on other parameters. */
export type ParsedLayerQuery = z.output<typeof layerQuerySchema>;

/** Returns the parsed pattern, or undefined if it is invalid. The schema of the parameter `pattern` reports the invalid pattern. */
function parsePatternOrUndefined(text: string): Pattern | undefined {
  try {
    return parsePattern(text);
  } catch {
    return undefined;
  }
}

/** The sparsity of a request that gives neither a sparsity nor an n:m pattern. */
const DEFAULT_SPARSITY = 0.5;

/** A method that is built in this version. */
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
