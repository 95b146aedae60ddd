/**
 * Chooses the layers of a model to prune, and the parameters of each layer, from the options of a run and the rules of a profile. The
 * choice depends on the names of the layers only.
 */

import type { ProfileRule } from "./profile.ts";
import { messageOf } from "../base/errors.ts";

export interface NamedLayer {
  /** Name of its weight in the checkpoint. */
  readonly name: string;
  readonly block: number;
}

/** The options that choose layers. A field that is absent excludes no layer. */
export interface ChoiceOptions {
  /** Only layers that match one of these patterns are pruned. See {@link compileNamePattern} for their syntax. */
  readonly layers?: readonly string[];
  readonly skip?: readonly string[];
  /** Layers in blocks before this one are skipped. */
  readonly minBlock?: number;
  /** Layers in this block and in later blocks are skipped. */
  readonly maxBlock?: number;
  /** Rules for single layers. Later rules override earlier rules, parameter by parameter. */
  readonly profile?: readonly ProfileRule[];
}

/** The layers to prune and the layers to skip, in the order of the model. */
export interface Choice {
  /** The layers to prune. Maps each name to the parameters that the profile sets for the layer. */
  readonly chosen: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  readonly skipped: readonly string[];
}

/**
 * Applies `options` to the layers of a model. A rule's `skip` overrides the patterns of the options, but not the range of blocks.
 * @param all all layers that can be pruned, in the order of the model
 * @throws {RangeError} if a pattern is malformed, if a pattern or a rule matches no layer, or if no layer is chosen
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
    const isInBlocks = minBlock <= block && block < maxBlock;
    let isChosen = isInBlocks && (layers?.has(name) ?? true) && !skip.has(name);
    let parameters: Record<string, unknown> = {};
    for (const rule of rules) {
      if (!rule.matches.has(name)) continue;
      if (rule.skip !== undefined && isInBlocks) isChosen = !rule.skip;
      parameters = mergeParameters(parameters, rule.parameters);
    }
    if (isChosen) chosen.set(name, parameters);
    else skipped.push(name);
  }
  if (chosen.size === 0) {
    throw new RangeError(`choice of layers: leaves none of the ${all.length} layers to prune`);
  }
  return { chosen, skipped };
}

/**
 * Merges two sets of parameters. `later` overrides `earlier`. A new pattern in `later` also removes the sparsity of `earlier`,
 * because the sparsity would contradict the pattern.
 */
export function mergeParameters(
  earlier: Readonly<Record<string, unknown>>,
  later: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { sparsity, ...rest } = earlier;
  const isReplaced = "pattern" in later && later.pattern !== earlier.pattern && !("sparsity" in later);
  return { ...rest, ...(sparsity === undefined || isReplaced ? {} : { sparsity }), ...later };
}

function matchAny(all: readonly NamedLayer[], option: string, patterns: readonly string[]): Set<string> {
  return new Set(patterns.flatMap((pattern) => [...matchOne(all, option, pattern)]));
}

/** Returns the names of the layers that match `pattern`. @throws {RangeError} if there are none; the message names `option` */
function matchOne(all: readonly NamedLayer[], option: string, pattern: string): Set<string> {
  const matches = compileNamePattern(pattern);
  const names = all.filter(({ name }) => matches(name)).map(({ name }) => name);
  if (names.length > 0) return new Set(names);
  throw new RangeError(
    `${option} ${JSON.stringify(pattern)}: matches no layer; an example of a layer is ${all[0]?.name}`,
  );
}

const WEIGHT_SUFFIX = /\.weight$/;

/**
 * Compiles a pattern to a function that tests the name of a weight. The name may match with or without its `.weight`. Plain text must
 * match the end of the name, in whole parts between dots, such as `fc2` or `self_attn.q_proj`. A pattern with wildcards must match the whole
 * name. A regular expression may match anywhere in the name.
 * @throws {RangeError} if the pattern is empty or is a malformed regular expression
 */
export function compileNamePattern(pattern: string): (name: string) => boolean {
  if (pattern === "") throw new RangeError("layer pattern: is empty");
  if (pattern.length > 2 && pattern.startsWith("/") && pattern.endsWith("/")) {
    const expression = parseExpression(pattern);
    return (name) => expression.test(name);
  }
  const hasWildcards = /[*?]/.test(pattern);
  const body = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  const expression = new RegExp(hasWildcards ? `^${body}$` : `(^|\\.)${body}$`);
  return (name) => expression.test(name) || expression.test(name.replace(WEIGHT_SUFFIX, ""));
}

function parseExpression(pattern: string): RegExp {
  try {
    return new RegExp(pattern.slice(1, -1));
  } catch (cause) {
    throw new RangeError(`layer pattern ${pattern}: ${messageOf(cause)}`, { cause });
  }
}
