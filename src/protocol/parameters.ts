/**
 * The parameters of one layer, as a server checks them. They come from the query string of `POST /v1/layers`, or from
 * the member `parameters` of a layer in a job (`POST /v1/jobs`). The schema `layerQuerySchema` checks them, and
 * `resolveParameters` fills in the defaults that depend on other parameters.
 */

import { z } from "zod";
import { formatPattern, MAX_GROUP, parsePattern, type Pattern, type PatternText } from "../tensor/pattern.ts";
import { MAX_BITS, MIN_BITS, type QuantizationOptions, SUPER_BLOCK_COLUMNS } from "../tensor/quantization.ts";
import { digestSchema, numeric } from "./resources/fields.ts";
import type { LayerQuery } from "./layer_query.ts";
import {
  DEFAULT_BLOCKSIZE,
  DEFAULT_DAMPING,
  DEFAULT_REFIT_STEPS,
  DEFAULT_SPARSITY,
  DEFAULT_TARGET_STEP,
  MAX_BLOCKSIZE,
  MAX_COLUMN_GROUP,
  MAX_DAMPING,
  MAX_REFIT_STEPS,
} from "./limits.ts";
import { DEFAULT_METHOD, type Effort, EFFORTS, METHOD_NAMES, METHODS, methodsThat } from "./methods.ts";
import { brokenRules, type RuleParameters } from "./parameter_rules.ts";

export function integer(min: number, max: number) {
  const rule = `must be a whole number from ${min} to ${max}`;
  return numeric(z.int(rule).min(min, rule).max(max, rule));
}

export function oneOf<const T extends readonly string[]>(...values: T) {
  return z.enum(values, `must be ${values.slice(0, -1).join(", ")} or ${values.at(-1)}`);
}

/** Accepts a boolean, or the text "true" or "false". */
export const flag = z.preprocess(
  (value) => value === "true" ? true : value === "false" ? false : value,
  z.boolean("must be true or false"),
);

const FRACTION_RULE = "must be a fraction from 0 to below 1, where 50 % is 0.5",
  DAMPING_RULE = `must be auto or a number from 0 to ${MAX_DAMPING}`,
  STEP_RULE = "must be auto or a number from 0 to 1";

/** Accepts the text "auto", or a number from 0 to `max`. */
function autoOr(max: number, rule: string) {
  return z.union([z.enum(["auto"]), numeric(z.number(rule).min(0, rule).max(max, rule))], rule);
}

/** Accepts the text of a pattern. `superRefine` does not narrow the type, so the type is asserted. */
const patternText = z.string().superRefine((text, context) => {
  try {
    parsePattern(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
}) as z.ZodType<PatternText, string>;

/** The parameters of the grids to which kept weights are rounded. */
const roundingFields = {
  bits: integer(MIN_BITS, MAX_BITS).optional().meta({
    description: "Round the kept weights to a grid of 2^bits values",
  }),
  group_size: integer(0, MAX_BLOCKSIZE).default(0).meta({
    description:
      "Columns per quantisation group. 0 means a whole row. The block size must be a multiple of it",
  }),
  symmetric: flag.default(false).meta({ description: "Whether the quantisation grid is symmetric about 0" }),
  ranges: oneOf("search", "minmax").default("search").meta({
    description:
      "What a quantisation grid spans. search finds the range with the smallest weighted error. minmax is all weights, as published",
  }),
  scale_dtype: oneOf("F32", "F16", "BF16").default("F32").meta({
    description: "The dtype to which each scale is rounded before the weights are rounded",
  }),
  scale_bits: integer(MIN_BITS, MAX_BITS).optional().meta({
    description:
      `Make each scale a whole number of this many bits times one factor per ${SUPER_BLOCK_COLUMNS} columns, as in the K types of GGUF. scale_dtype is then the dtype of the factor. The group size must divide ${SUPER_BLOCK_COLUMNS}`,
  }),
  order: oneOf("natural", "activation").default("natural").meta({
    description: "The order of the columns when quantising. activation starts with the largest inputs",
  }),
};

export const ROUNDING_PARAMETERS = Object.keys(roundingFields) as (keyof typeof roundingFields)[];

/** The parameters that a layer has in a request of its own and in a job. Numbers and booleans may be given as text. */
const sharedFields = {
  method: oneOf(...METHOD_NAMES).default(DEFAULT_METHOD).meta({
    description: `The solver: ${METHOD_NAMES.map((name) => `${name} (${METHODS[name].summary})`).join("; ")}`,
  }),
  sparsity: numeric(z.number(FRACTION_RULE).min(0, FRACTION_RULE).lt(1, FRACTION_RULE)).optional().meta({
    description:
      `The fraction of weights to prune. Defaults to ${DEFAULT_SPARSITY}. May be omitted with an n:m pattern, or with a tensor \`mask\`, which is then pruned exactly`,
  }),
  pattern: patternText.default("unstructured").meta({
    description:
      `unstructured; n:m, which keeps at most n of every m consecutive inputs, 1 ≤ n < m ≤ ${MAX_GROUP}; or columns, which removes whole inputs and answers a smaller weight, for ${
        methodsThat(({ hasColumns }) => hasColumns, "or")
      }`,
    pattern: "^(unstructured|columns|[0-9]+:[0-9]+)$",
    example: "2:4",
  }),
  column_group: integer(1, MAX_COLUMN_GROUP).optional().meta({
    description:
      "The number of neighbouring inputs that pattern=columns removes together, such as the outputs of an attention head. The number of inputs must be a multiple of it. Defaults to 1",
  }),
  blocksize: integer(1, MAX_BLOCKSIZE).optional().meta({
    description:
      `Columns per block, a multiple of m and of group_size. Defaults to the largest multiple of the larger of the two up to ${DEFAULT_BLOCKSIZE}, or to the larger of the two if it exceeds ${DEFAULT_BLOCKSIZE}. With scale_bits, the default is ${SUPER_BLOCK_COLUMNS}`,
  }),
  damping: autoOr(MAX_DAMPING, DAMPING_RULE).default(DEFAULT_DAMPING).meta({
    description:
      "λ. λ times the mean of the Hessian's diagonal is added to the diagonal. auto chooses λ, or shrinks the Hessian towards its diagonal, by validation statistics, which it needs. With pattern=columns, it needs none, and shrinks as far as the error stays small",
  }),
  token_weights: oneOf("none", "unit").default("none").meta({
    description:
      "How much each calibration input x counts. none adds x·xᵀ, as published. unit first scales x to a fixed length, and is the default of whole models",
  }),
  ...roundingFields,
  refit: integer(0, MAX_REFIT_STEPS).optional().meta({
    description:
      `Conjugate-gradient steps on the chosen mask, before any quantisation. Defaults to ${DEFAULT_REFIT_STEPS} for ${
        methodsThat(({ refitSteps }) => refitSteps)
      }, else 0`,
  }),
  effort: oneOf(...EFFORTS).optional().meta({
    description: `How much work to spend on the mask, for ${
      methodsThat(({ hasEffort }) => hasEffort)
    }. Rounded weights are improved after the rounding, except with fast. Defaults to default`,
  }),
  target_step: autoOr(1, STEP_RULE).optional().meta({
    description:
      `The size of the step by which the weights move towards the tensor target before they are pruned. 1 is the whole step. auto chooses by the tensor validation_target, which it needs. Needs the tensor target. Defaults to ${DEFAULT_TARGET_STEP}`,
  }),
  error: flag.default(true).meta({
    description: "Whether to compute relative_error, which costs one more matrix product",
  }),
  dtype: oneOf("same", "F32", "F16", "BF16").default("same").meta({
    description: "The dtype of the weights in the answer. same is the dtype of the request",
  }),
};

function reportBrokenRules(query: RuleParameters, context: z.RefinementCtx): void {
  for (const { parameter, message } of brokenRules(query)) {
    context.addIssue({ code: "custom", path: [parameter], message });
  }
}

/** The schema of the parameters of `POST /v1/layers`. Unknown names are refused. */
export const layerQuerySchema = z.strictObject({
  ...sharedFields,
  hessian: digestSchema.optional().meta({
    description: "The digest of stored statistics, sent instead of a statistics tensor",
  }),
}).superRefine(reportBrokenRules);

/** The schema of the parameters of a layer in a job, which names its statistics in another member. */
export const jobParametersSchema = z.strictObject(sharedFields).superRefine(reportBrokenRules);

/** Valid parameters, with the defaults that do not depend on other parameters. */
export type ParsedLayerQuery = z.output<typeof layerQuerySchema>;

/** The parameters of a layer, with every default filled in. */
export interface ResolvedParameters extends Omit<ParsedLayerQuery, "pattern"> {
  /** The fraction of weights to prune. An n:m pattern implies it. */
  readonly sparsity: number;
  readonly pattern: Pattern;
  /** Whether a layer with a mask loses the entries of the mask and no others, because the query says nothing else. */
  readonly prunesMaskOnly: boolean;
  readonly blocksize: number;
  readonly relativeError: boolean;
  /** Conjugate-gradient steps on the mask. */
  readonly refitSteps: number;
  /** Used by the methods that have an effort. */
  readonly effort: Effort;
  /** How the kept weights are rounded. Undefined if they are not rounded. */
  readonly quantization: QuantizationOptions | undefined;
}

/** Fills in the defaults that depend on other parameters. */
export function resolveParameters(query: ParsedLayerQuery): ResolvedParameters {
  const { method, bits, group_size: groupSize, symmetric, order, ranges } = query;
  const { scale_dtype: scaleDtype, scale_bits: scaleBits } = query;
  const pattern = parsePattern(query.pattern, query.column_group);
  const group = pattern.kind === "n:m" ? pattern.group : 1;
  return {
    ...query,
    sparsity: pattern.kind === "n:m" ? 1 - pattern.keep / pattern.group : query.sparsity ?? DEFAULT_SPARSITY,
    pattern,
    prunesMaskOnly: pattern.kind === "unstructured" && query.sparsity === undefined,
    blocksize: query.blocksize ??
      defaultBlocksize(scaleBits === undefined ? Math.max(group, groupSize) : SUPER_BLOCK_COLUMNS),
    relativeError: query.error,
    refitSteps: query.refit ?? METHODS[method].refitSteps ?? 0,
    effort: query.effort ?? "default",
    quantization: bits === undefined
      ? undefined
      : { bits, groupSize, symmetric, order, ranges, scaleDtype, scaleBits },
  };
}

/** Returns the parameters that take effect, by their names in the contract. */
export function effectiveParameters(query: ParsedLayerQuery): LayerQuery {
  const { quantization, refitSteps, effort, ...resolved } = resolveParameters(query);
  const { relativeError: _relativeError, prunesMaskOnly: _prunesMaskOnly, ...parameters } = resolved;
  const isRounded = quantization !== undefined;
  const effective = Object.entries(parameters).filter(([name]) => isRounded || !isRoundingParameter(name));
  return {
    ...Object.fromEntries(effective),
    pattern: formatPattern(parameters.pattern),
    refit: refitSteps || undefined,
    effort: METHODS[query.method].hasEffort ? effort : undefined,
    token_weights: query.token_weights === "none" ? undefined : query.token_weights,
  };
}

function isRoundingParameter(name: string): boolean {
  return (ROUNDING_PARAMETERS as string[]).includes(name);
}

/** Returns the largest multiple of `group` up to the default block size, or `group` itself if it is larger. */
function defaultBlocksize(group: number): number {
  return Math.max(1, Math.floor(DEFAULT_BLOCKSIZE / group)) * group;
}
