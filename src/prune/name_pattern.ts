import { messageOf } from "../text/message_of.ts";
/**
 * Patterns for the names of layers, as people write them: `fc2` and `self_attn.q_proj` are the ends of names, `*` and `?`
 * stand for any characters and for one, `/…/` is a regular expression.
 */

/** What a weight's name adds to its layer's. */
const WEIGHT_SUFFIX = /\.weight$/;

/**
 * Whether a weight's name is meant by `pattern`, with its `.weight` or without. Globs must cover the whole name, plain text whole
 * parts between dots at its end; regular expressions are found anywhere.
 * @throws {RangeError} an empty pattern or a malformed regular expression
 */
export function matcher(pattern: string): (name: string) => boolean {
  if (pattern === "") throw new RangeError("layer pattern: is empty");
  if (pattern.length > 2 && pattern.startsWith("/") && pattern.endsWith("/")) {
    const expression = regularExpression(pattern);
    return (name) => expression.test(name);
  }
  const isGlob = /[*?]/.test(pattern);
  const body = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  const expression = new RegExp(isGlob ? `^${body}$` : `(^|\\.)${body}$`);
  return (name) => expression.test(name) || expression.test(name.replace(WEIGHT_SUFFIX, ""));
}

function regularExpression(pattern: string): RegExp {
  try {
    return new RegExp(pattern.slice(1, -1));
  } catch (cause) {
    const reason = messageOf(cause);
    throw new RangeError(`layer pattern ${pattern}: ${reason}`, { cause });
  }
}
