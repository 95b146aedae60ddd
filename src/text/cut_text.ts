/**
 * Shortens what an answer or a message quotes of a request, so that a large request does not make a large
 * answer.
 */

/** The largest number of characters that are quoted of one value. */
export const MAX_QUOTED_CHARACTERS = 200;

/** The largest number of items that are quoted of one list. */
export const MAX_LISTED_ITEMS = 20;

/** Returns `text` if it has at most `limit` characters. Otherwise returns its first characters and an ellipsis. */
export function cutText(text: string, limit: number = MAX_QUOTED_CHARACTERS): string {
  if (text.length <= limit) return text;
  // A character outside of the Basic Multilingual Plane has two code units, which must not be separated.
  return text.slice(0, limit - 1).replace(/[\ud800-\udbff]$/, "") + "…";
}
