/** Shortens what an error message quotes, so that the answer to a hostile request stays small. */

/** The number of characters that are quoted from a value. */
const MAX_QUOTED_CHARACTERS = 200;

/** The number of items that are quoted from a list. */
const MAX_QUOTED_ITEMS = 20;

/** Returns `text`, or its first `characters` characters and `…` if it is longer. The default is 200. */
export function shortened(text: string, characters: number = MAX_QUOTED_CHARACTERS): string {
  return text.length <= characters ? text : `${text.slice(0, characters).toWellFormed()}…`;
}

/** Returns `items`, or the first 20 of them if there are more. */
export function firstItems<T>(items: readonly T[]): readonly T[] {
  return items.slice(0, MAX_QUOTED_ITEMS);
}

/** Joins `items` to a text such as `2, 3, 4`. From a longer list, it takes the first 20 items and says how many are left out. */
export function joinedItems(items: readonly unknown[], separator = ", "): string {
  const parts = firstItems(items).map((item) => shortened(String(item)));
  const omitted = items.length - parts.length;
  return omitted === 0 ? parts.join(separator) : [...parts, `… and ${omitted} more`].join(separator);
}
