/**
 * Patterns for the names of layers, as users write them on the command line and in profiles. There are three forms:
 *
 * - plain text matches the end of a name, such as `fc2` or `self_attn.q_proj`;
 * - with wildcards, `*` stands for any characters and `?` for one character;
 * - `/…/` is a regular expression.
 */

import { messageOf } from "../text/message_of.ts";

/** The end of a weight's name. The rest is the name of its layer. */
const WEIGHT_SUFFIX = /\.weight$/;

/**
 * Compiles a pattern to a function that tests the name of a weight. A name matches if it matches with or
 * without its `.weight`. Plain text must match one or more whole parts of the name, which dots separate. A
 * pattern with wildcards must match the whole name. A regular expression may match anywhere in the name with
 * its `.weight`.
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
