/** What a sweep measures: every method at every sparsity and pattern, from the lists on the command line. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters, unsupportedParameter } from "../../protocol/parameters.ts";
import { UsageError } from "../exit.ts";

/** One point. */
export interface SweepPoint {
  readonly method: NonNullable<LayerQuery["method"]>;
  /** `unstructured` or `n:m`. */
  readonly pattern: string;
  /** The fraction pruned, the pattern's own with n:m. */
  readonly sparsity: number;
}

/** The parameters of every layer at `point`. A sweep compares perplexities, so no layer's error is computed. */
export function layerQueryOf({ method, pattern, sparsity }: SweepPoint): LayerQuery {
  return { method, ...pattern === "unstructured" ? { sparsity } : { pattern }, error: false };
}

/** The lists as they were given. */
export interface PointLists {
  readonly methods: string;
  readonly sparsities?: string;
  readonly patterns?: string;
}

/** The step of a range that names none. */
const DEFAULT_STEP = 0.1;

/** Ranges are counted in these, so that 0.1..0.8 in steps of 0.1 has 0.3 in it and not 0.30000000000000004. */
const UNITS = 1e6;

/**
 * The points, method by method, sparsities before patterns.
 * @throws {UsageError} a list is malformed, empty, or has an entry the contract refuses: names it
 */
export function sweepPoints({ methods, sparsities, patterns }: PointLists): SweepPoint[] {
  const settings = [
    ...sparsities === undefined ? [] : parseSparsities(sparsities).map((sparsity) => ({ sparsity })),
    ...patterns === undefined ? [] : entries("patterns", patterns).map((pattern) => ({ pattern })),
  ];
  if (settings.length === 0) throw new UsageError("sweep: needs --sparsities or --patterns");
  return entries("methods", methods).flatMap((method) =>
    settings.map((setting) => readPoint({ method, ...setting }))
  );
}

/**
 * Fractions from `0.5,0.6`, from `0.1..0.8` in steps of 0.1, or from `0.5..0.6:0.02`, both ends in it.
 * @throws {UsageError} an entry is none of these, or not in [0, 1)
 */
export function parseSparsities(list: string): number[] {
  const values = entries("sparsities", list).flatMap((entry) => {
    const [, first, last, step] = /^(\d*\.?\d+)(?:\.\.(\d*\.?\d+)(?::(\d*\.?\d+))?)?$/.exec(entry) ?? [];
    const from = Number(first), to = Number(last ?? first), by = Number(step ?? DEFAULT_STEP);
    if (!(from >= 0 && from <= to && to < 1 && by * UNITS >= 1)) {
      throw new UsageError(
        `option --sparsities ${entry}: must be a fraction, 0 ≤ s < 1, or FROM..TO or FROM..TO:STEP of such`,
      );
    }
    const units = (value: number) => Math.round(value * UNITS);
    const count = Math.floor((units(to) - units(from)) / units(by)) + 1;
    return Array.from({ length: count }, (_, i) => (units(from) + i * units(by)) / UNITS);
  });
  return [...new Set(values)];
}

function entries(option: string, list: string): string[] {
  const found = list.split(",").map((entry) => entry.trim());
  if (found.some((entry) => entry === "")) {
    throw new UsageError(`option --${option} ${list}: must be a list with commas, no entry empty`);
  }
  return [...new Set(found)];
}

function readPoint(asked: Readonly<Record<string, string | number>>): SweepPoint {
  const parsed = layerQuerySchema.safeParse(asked);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) =>
      `${path.join(".")} ${asked[String(path[0])]}: ${message}`
    );
    throw new UsageError(`sweep: ${problems.join("; ")}`);
  }
  const unsupported = unsupportedParameter(parsed.data);
  if (unsupported) {
    throw new UsageError(
      `sweep: ${unsupported.parameter} ${unsupported.value}: this version does not have it`,
    );
  }
  const { method, pattern } = parsed.data;
  if (asked.pattern === "unstructured") {
    throw new UsageError("option --patterns unstructured: must be n:m; --sparsities are of no pattern");
  }
  return { method, pattern, sparsity: resolveParameters(parsed.data).sparsity };
}
