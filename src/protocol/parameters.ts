/**
 * The parameters of one layer: the query string of `POST /v1/layers`, and the `parameters` of a job's layer.
 * The schema states the contract, whatever a given host has built; `unsupportedParameter` says what this version
 * has not.
 */

import { z } from "zod";
import { MAX_GROUP, parsePattern, type Pattern } from "../sparsity/pattern.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { digestSchema } from "./digest.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING, MAX_BLOCKSIZE, MAX_DAMPING, MAX_REFIT_STEPS } from "./limits.ts";

const METHODS = ["sparsegpt", "magnitude", "wanda", "adaprune", "obc", "alps"] as const;

/** The sparsity of an unstructured request that names none. */
const DEFAULT_SPARSITY = 0.5;

/** How far `sparsity` may be from what its n:m pattern implies: room for decimals such as 0.333333. */
const SPARSITY_SLACK = 1e-5;

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A number, or its decimal text as a query string has it. */
function numeric<T extends z.ZodType>(schema: T) {
  return z.preprocess(
    (value) => typeof value === "string" && DECIMAL.test(value) ? Number(value) : value,
    schema,
  );
}

/** A boolean, or "true" or "false". */
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

/** The parameters as sent; values may be text. Unknown names are refused. */
export const layerQuerySchema = z.strictObject({
  method: z.enum(METHODS).default("sparsegpt"),
  sparsity: numeric(z.number().min(0).lt(1)).optional().meta({
    description: "Fraction of the entries to prune; 0.5 unless given. May be omitted with an n:m pattern",
  }),
  pattern: patternText.default("unstructured").meta({
    description:
      `unstructured, or n:m: at most n kept in every m consecutive inputs, 1 ≤ n < m ≤ ${MAX_GROUP}`,
  }),
  blocksize: numeric(z.int().min(1).max(MAX_BLOCKSIZE)).optional().meta({
    description: `Columns a block, a multiple of m; unless given the largest such up to ${DEFAULT_BLOCKSIZE}`,
  }),
  damping: numeric(z.number().min(0).max(MAX_DAMPING)).default(DEFAULT_DAMPING).meta({
    description: "λ: this times the mean of the Hessian's diagonal is added to its diagonal",
  }),
  bits: numeric(z.int().min(2).max(8)).optional().meta({
    description: "Round kept weights to a grid of 2^bits",
  }),
  group_size: numeric(z.int().min(0)).default(0).meta({
    description: "Columns a quantisation group; 0 = a whole row",
  }),
  symmetric: flag.default(false).meta({ description: "A quantisation grid symmetric about 0" }),
  refit: numeric(z.int().min(0).max(MAX_REFIT_STEPS)).default(0).meta({
    description: "Conjugate-gradient steps on the chosen mask after the solve",
  }),
  error: flag.default(true).meta({ description: "false skips relative_error" }),
  dtype: z.enum(["same", "F32", "F16", "BF16"]).default("same").meta({
    description: "dtype of the answered weights",
  }),
  hessian: digestSchema.optional().meta({
    description: "Stored statistics, in place of a statistics tensor",
  }),
}).superRefine((query, context) => {
  const pattern = tryPattern(query.pattern);
  if (pattern?.kind !== "n:m") return;
  const implied = 1 - pattern.keep / pattern.group;
  if (query.sparsity !== undefined && Math.abs(query.sparsity - implied) > SPARSITY_SLACK) {
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

/** The parameters as `layerQuerySchema` leaves them. */
export type LayerQuery = z.output<typeof layerQuerySchema>;

/** A method this version has. */
export type BuiltMethod = "sparsegpt" | "magnitude";

/** The parameters with every default settled, none of them unsupported. */
export interface BuiltParameters {
  readonly method: BuiltMethod;
  /** Fraction to prune; the pattern's own with n:m. */
  readonly sparsity: number;
  readonly pattern: Pattern;
  readonly blocksize: number;
  readonly damping: number;
  readonly relativeError: boolean;
  readonly dtype: "same" | FloatDtype;
  /** Digest of stored statistics. */
  readonly hessian: string | undefined;
}

/**
 * Settles the defaults that depend on other parameters.
 * @throws {TypeError} when `unsupportedParameter` has one to name: it is to be asked first
 */
export function resolveParameters(query: LayerQuery): BuiltParameters {
  const { method } = query;
  if (!isBuilt(method) || unsupportedParameter(query)) throw new TypeError("parameters: one is unsupported");
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

/** A parameter of the contract, with a value that this version cannot serve. */
export interface UnsupportedParameter {
  readonly parameter: keyof LayerQuery;
  readonly value: string | number | boolean;
}

/** The first parameter whose value is valid but not built yet; undefined when all are. */
export function unsupportedParameter(query: LayerQuery): UnsupportedParameter | undefined {
  const { method, bits, group_size, symmetric, refit } = query;
  if (!isBuilt(method)) return { parameter: "method", value: method };
  if (bits !== undefined) return { parameter: "bits", value: bits };
  if (group_size !== 0) return { parameter: "group_size", value: group_size };
  if (symmetric) return { parameter: "symmetric", value: symmetric };
  if (refit > 0) return { parameter: "refit", value: refit };
}

function isBuilt(method: LayerQuery["method"]): method is BuiltMethod {
  return method === "sparsegpt" || method === "magnitude";
}

function tryPattern(text: string): Pattern | undefined {
  try {
    return parsePattern(text);
  } catch {
    // The pattern's own check has already told.
    return undefined;
  }
}
