/**
 * Which layers of a model are pruned, by name and by block, and with which parameters each: the options of a run and
 * the rules of a profile settled into one list. It reads no files and knows no model but its layers' names.
 */

import { matcher } from "./name_pattern.ts";
import type { ProfileRule } from "./profile.ts";

/** A linear layer that could be pruned. */
export interface NamedLayer {
  /** Of its weight in the checkpoint. */
  readonly name: string;
  readonly block: number;
}

/** What was asked for; absent fields exclude nothing. */
export interface ChoiceOptions {
  /** Patterns ({@link matcher}): only layers that one of them matches. */
  readonly layers?: readonly string[];
  /** Patterns: layers to leave out. */
  readonly skip?: readonly string[];
  /** Blocks before it are left out. */
  readonly minBlock?: number;
  /** It and the blocks after it are left out. */
  readonly maxBlock?: number;
  /** Later rules win, parameter by parameter. */
  readonly profile?: readonly ProfileRule[];
}

/** The layers to prune, in order, and those left as they are. */
export interface Choice {
  /** By name: the parameters of the profile that are not the run's. */
  readonly chosen: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  readonly skipped: readonly string[];
}

/**
 * Settles `options` over the layers of a model.
 * @throws {RangeError} a pattern or a rule matches no layer, a pattern is malformed, or nothing is left: names which
 */
export function chooseLayers(all: readonly NamedLayer[], options: ChoiceOptions): Choice {
  const { minBlock = 0, maxBlock = Infinity, profile = [] } = options;
  const layers = options.layers && matchAny(all, "layers", options.layers);
  const skip = matchAny(all, "skip", options.skip ?? []);
  const rules = profile.map((rule, i) => ({
    ...rule,
    matches: matchOne(all, `profile rule ${i}`, rule.match),
  }));
  const chosen = new Map<string, Readonly<Record<string, unknown>>>();
  const skipped: string[] = [];
  for (const { name, block } of all) {
    const inBlocks = minBlock <= block && block < maxBlock;
    let isChosen = inBlocks && (layers?.has(name) ?? true) && !skip.has(name);
    let parameters: Record<string, unknown> = {};
    for (const rule of rules) {
      if (!rule.matches.has(name)) continue;
      if (rule.skip !== undefined && inBlocks) isChosen = !rule.skip;
      parameters = mergeParameters(parameters, rule.parameters);
    }
    if (isChosen) chosen.set(name, parameters);
    else skipped.push(name);
  }
  if (chosen.size === 0) throw new RangeError(`choice of layers: leaves none of the ${all.length} to prune`);
  return { chosen, skipped };
}

/** `later` over `earlier`. A pattern takes the place of an inherited sparsity, which it would contradict. */
export function mergeParameters(
  earlier: Readonly<Record<string, unknown>>,
  later: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { sparsity, ...rest } = earlier;
  const replaced = "pattern" in later && later.pattern !== earlier.pattern && !("sparsity" in later);
  return { ...rest, ...(sparsity === undefined || replaced ? {} : { sparsity }), ...later };
}

function matchAny(all: readonly NamedLayer[], what: string, patterns: readonly string[]): Set<string> {
  return new Set(patterns.flatMap((pattern) => [...matchOne(all, what, pattern)]));
}

function matchOne(all: readonly NamedLayer[], what: string, pattern: string): Set<string> {
  const matches = matcher(pattern);
  const names = all.filter(({ name }) => matches(name)).map(({ name }) => name);
  if (names.length > 0) return new Set(names);
  throw new RangeError(
    `${what} ${JSON.stringify(pattern)}: matches no layer; they are called as ${all[0]?.name}`,
  );
}
