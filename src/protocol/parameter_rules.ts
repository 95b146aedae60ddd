/**
 * The rules that connect several parameters of a layer. Combinations without a meaning are refused, so that no
 * parameter is ever ignored silently. Each rule names the parameter to change.
 */

import { type MethodName, METHODS, methodsThat } from "./methods.ts";
import { parsePattern, type Pattern } from "../tensor/pattern.ts";
import { SUPER_BLOCK_COLUMNS } from "../tensor/quantization.ts";

export interface RuleParameters {
  readonly method: MethodName;
  readonly sparsity?: number;
  readonly pattern: string;
  readonly column_group?: number;
  readonly blocksize?: number;
  readonly damping: number | "auto";
  readonly bits?: number;
  readonly group_size: number;
  readonly symmetric: boolean;
  readonly order: string;
  readonly ranges: string;
  readonly scale_dtype: string;
  readonly scale_bits?: number;
  readonly refit?: number;
  readonly effort?: string;
  readonly target_step?: number | "auto";
  readonly token_weights: string;
  readonly hessian?: string;
}

/** A broken rule: the parameter to change, and the reason for the user. */
export interface BrokenRule {
  readonly parameter: keyof RuleParameters;
  readonly message: string;
}

/** The largest accepted difference between `sparsity` and the sparsity of an n:m pattern, for decimals such as 0.333333. */
const SPARSITY_TOLERANCE = 1e-5;

/**
 * Yields the rules that `query` breaks. A malformed pattern breaks no rule here, because the schema of the parameter
 * `pattern` reports it.
 */
export function* brokenRules(query: RuleParameters): Generator<BrokenRule> {
  const { method, effort, refit } = query, { hasEffort, refitOf } = METHODS[method];
  const pattern = parsePatternOrUndefined(query.pattern);
  if (pattern?.kind === "n:m") yield* brokenPatternRules(query, pattern);
  if (pattern?.kind === "columns") yield* brokenColumnsRules(query);
  else if (pattern && query.column_group !== undefined) {
    const message = `${query.column_group} is for pattern columns, and the pattern is ${query.pattern}`;
    yield { parameter: "column_group", message };
  }
  if (query.bits === undefined) yield* quantisationWithoutBits(query);
  else yield* brokenQuantisationRules(query, pattern);
  if (effort !== undefined && !hasEffort) {
    const able = methodsThat((other) => other.hasEffort, "or");
    yield { parameter: "effort", message: `${effort} needs method ${able}, and the method is ${method}` };
  }
  if (query.token_weights !== "none" && query.hessian !== undefined) {
    const message =
      `${query.token_weights} weighs calibration inputs, but hessian names statistics that are sums already`;
    yield { parameter: "token_weights", message };
  }
  if (refit === 0 && refitOf) {
    const message =
      `0 with method ${method} would be ${refitOf} pruning: use method ${refitOf}, or at least 1 step`;
    yield { parameter: "refit", message };
  }
}

function* brokenPatternRules(
  query: RuleParameters,
  { keep, group }: Pattern & { kind: "n:m" },
): Generator<BrokenRule> {
  const { sparsity, pattern, blocksize } = query, implied = 1 - keep / group;
  if (sparsity !== undefined && Math.abs(sparsity - implied) > SPARSITY_TOLERANCE) {
    const message = `${sparsity} contradicts pattern ${pattern}, which prunes ${implied}: omit it`;
    yield { parameter: "sparsity", message };
  }
  if (blocksize !== undefined && blocksize % group !== 0) {
    const message = `${blocksize} is not a multiple of ${group}, the group of pattern ${pattern}`;
    yield { parameter: "blocksize", message };
  }
}

function* brokenColumnsRules(
  { method, target_step, bits, refit }: RuleParameters,
): Generator<BrokenRule> {
  if (!METHODS[method].hasColumns) {
    const able = methodsThat(({ hasColumns }) => hasColumns, "or");
    yield {
      parameter: "method",
      message: `${method} cannot remove columns: pattern columns needs method ${able}`,
    };
  }
  if (target_step === "auto") {
    const message = "auto tries masks of single weights, so it cannot be combined with pattern columns";
    yield { parameter: "target_step", message };
  }
  if (bits !== undefined) {
    const message =
      `${bits} cannot be combined with pattern columns: round the smaller layer in a request of its own`;
    yield { parameter: "bits", message };
  }
  if (refit) {
    const message =
      `${refit} would change nothing, because the weights of pattern columns are optimal already: omit it`;
    yield { parameter: "refit", message };
  }
}

function* quantisationWithoutBits(
  { group_size, symmetric, order, ranges, scale_dtype, scale_bits }: RuleParameters,
): Generator<BrokenRule> {
  const given = [
    ["group_size", group_size, group_size !== 0],
    ["symmetric", symmetric, symmetric],
    ["order", order, order !== "natural"],
    ["ranges", ranges, ranges !== "search"],
    ["scale_dtype", scale_dtype, scale_dtype !== "F32"],
    ["scale_bits", scale_bits, scale_bits !== undefined],
  ] as const;
  for (const [parameter, value, isGiven] of given) {
    if (isGiven) yield { parameter, message: `${value} describes a quantisation grid, so it needs bits` };
  }
}

function* brokenQuantisationRules(
  query: RuleParameters,
  pattern: Pattern | undefined,
): Generator<BrokenRule> {
  const { group_size: size, blocksize, order } = query;
  if (order === "activation" && (size > 0 || pattern?.kind === "n:m")) {
    const reason = size > 0 ? `group_size ${size}` : `pattern ${query.pattern}`;
    yield {
      parameter: "order",
      message: `activation cannot be combined with ${reason}, whose groups are neighbouring columns`,
    };
  }
  if (query.scale_bits !== undefined) yield* brokenScaleRules(query, query.scale_bits);
  if (size === 0) return;
  if (pattern?.kind === "n:m" && size % pattern.group !== 0) {
    const message = `${size} is not a multiple of ${pattern.group}, the group of pattern ${query.pattern}`;
    yield { parameter: "group_size", message };
  }
  if (blocksize !== undefined && blocksize % size !== 0) {
    yield { parameter: "blocksize", message: `${blocksize} is not a multiple of group_size ${size}` };
  }
}

function* brokenScaleRules(
  { bits, symmetric, group_size, blocksize }: RuleParameters,
  scaleBits: number,
): Generator<BrokenRule> {
  const parameter = "scale_bits", columns = SUPER_BLOCK_COLUMNS;
  if (group_size === 0 || columns % group_size !== 0) {
    const message =
      `${scaleBits} needs a group_size that divides ${columns}, and group_size is ${group_size}`;
    yield { parameter, message };
  }
  if (!symmetric && scaleBits < bits!) {
    yield {
      parameter,
      message: `${scaleBits} is smaller than bits ${bits}, which asymmetric grids do not allow`,
    };
  }
  if (blocksize !== undefined && blocksize !== columns) {
    const message = `${blocksize} is not ${columns}, the columns that share a factor with scale_bits`;
    yield { parameter: "blocksize", message };
  }
}

/** Returns the parsed pattern, or undefined if it is malformed. */
function parsePatternOrUndefined(text: string): Pattern | undefined {
  try {
    return parsePattern(text);
  } catch {
    return undefined;
  }
}
