/**
 * Turns the lists of methods, sparsities and patterns of `pare sweep` into points. A point is one method at one sparsity or one pattern.
 */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_SPARSITY } from "../../protocol/limits.ts";
import { layerQuerySchema, resolveParameters } from "../../protocol/parameters.ts";
import { parsePattern, type PatternText } from "../../tensor/pattern.ts";
import { UsageError } from "../errors.ts";
import { optionName, withOptionNames } from "../options/layer_options.ts";

export interface SweepPoint {
  readonly method: NonNullable<LayerQuery["method"]>;
  /** `unstructured` or `n:m`. */
  readonly pattern: PatternText;
  /** The fraction of pruned weights. An n:m pattern implies it. */
  readonly sparsity: number;
}

/**
 * Returns the parameters of all layers at `point`. `rounding` has the parameters of rounding, which all points share. A sweep compares
 * perplexities only, so the relative errors of the layers are not computed.
 */
export function layerQueryOf({ method, pattern, sparsity }: SweepPoint, rounding: LayerQuery): LayerQuery {
  return { method, ...pattern === "unstructured" ? { sparsity } : { pattern }, ...rounding, error: false };
}

/** The lists as they were given on the command line. */
export interface PointLists {
  readonly methods: string;
  readonly sparsities?: string;
  readonly patterns?: string;
}

/** The step of a range that names no step, such as `0.1..0.8`. */
const DEFAULT_STEP = 0.1;

/** Ranges are computed in integer millionths, so that 0.1..0.8 contains 0.3 and not 0.30000000000000004. */
const UNITS = 1e6;

/**
 * Returns the points, ordered by method, with sparsities before patterns.
 * @param sparsity the sparsity of the points if there is neither list
 * @throws {UsageError} naming the list that is malformed or empty, or the entry that the HTTP API would refuse
 */
export function sweepPoints(
  { methods, sparsities, patterns }: PointLists,
  rounding: LayerQuery = {},
  sparsity = DEFAULT_SPARSITY,
): SweepPoint[] {
  const fractions = sparsities !== undefined
    ? parseSparsities(sparsities)
    : patterns === undefined
    ? [sparsity]
    : [];
  const settings = [
    ...fractions.map((sparsity) => ({ sparsity })),
    ...patterns === undefined ? [] : splitList("patterns", patterns).map((pattern) => ({ pattern })),
  ];
  return splitList("methods", methods).flatMap((method) =>
    settings.map((setting) => readPoint({ method, ...setting }, rounding))
  );
}

/**
 * Parses a list of fractions, such as `0.5`, and ranges, such as `0.1..0.8` (steps of 0.1) or `0.5..0.6:0.02`. A range ends at its last
 * step that is not above its second number, so `0.1..0.25` gives 0.1 and 0.2.
 * @throws {UsageError} naming the entry that is malformed or not in [0, 1)
 */
export function parseSparsities(list: string): number[] {
  const values = splitList("sparsities", list).flatMap((entry) => {
    const [, first, last, step] = /^(\d*\.?\d+)(?:\.\.(\d*\.?\d+)(?::(\d*\.?\d+))?)?$/.exec(entry) ?? [];
    const from = Number(first), to = Number(last ?? first), by = Number(step ?? DEFAULT_STEP);
    if (!(from >= 0 && from <= to && to < 1 && by * UNITS >= 1)) {
      throw new UsageError(
        `option --sparsities ${entry}: must be a fraction, 0 ≤ s < 1, or a range FROM..TO or FROM..TO:STEP`,
      );
    }
    const units = (value: number) => Math.round(value * UNITS);
    const count = Math.floor((units(to) - units(from)) / units(by)) + 1;
    return Array.from({ length: count }, (_, i) => (units(from) + i * units(by)) / UNITS);
  });
  return [...new Set(values)];
}

/** Splits a list at its commas and removes duplicates. @throws {UsageError} if an entry is empty */
function splitList(option: string, list: string): string[] {
  const found = list.split(",").map((entry) => entry.trim());
  if (found.some((entry) => entry === "")) {
    throw new UsageError(`option --${option} ${list}: must be a comma-separated list without empty entries`);
  }
  return [...new Set(found)];
}

/** The options whose entries are the values of a parameter. */
const LISTS: Readonly<Record<string, string>> = {
  method: "methods",
  pattern: "patterns",
  sparsity: "sparsities",
};

/** Checks one point with the schema of the HTTP API. @throws {UsageError} naming the parameter and the rule */
function readPoint(given: Readonly<Record<string, string | number>>, rounding: LayerQuery): SweepPoint {
  const parameters: Readonly<Record<string, unknown>> = { ...given, ...rounding };
  const parsed = layerQuerySchema.safeParse(parameters);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => {
      const name = String(path[0]);
      return `option --${LISTS[name] ?? optionName(name)} ${parameters[name]}: ${withOptionNames(message)}`;
    });
    throw new UsageError(problems.join("; "));
  }
  const { method, pattern } = parsed.data;
  if (given.pattern !== undefined && parsePattern(pattern).kind !== "n:m") {
    throw new UsageError(
      `option --patterns ${pattern}: must be n:m; use --sparsities for unstructured pruning, and pare shrink for columns`,
    );
  }
  return { method, pattern, sparsity: resolveParameters(parsed.data).sparsity };
}
