/**
 * Makes texts from outside safe. Names from a checkpoint, a server or a job can have control characters that move the
 * cursor, change colours or hide output of a terminal. Errors quote long texts in part, so that the answer to a hostile
 * request stays small.
 */

/** Matches control characters, line separators, marks of the text's direction, and halves of surrogate pairs. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Returns `text` in one line, with control characters as JSON escapes such as `\u001b`. JSON stays valid. */
export function printableLine(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Returns `text` with its lines and tabs, and all other control characters escaped as by {@link printableLine}. */
export function printableText(text: string): string {
  return text.replace(/[^\n\t]+/g, printableLine);
}

/** The most characters that are quoted of a value, and the most items that are quoted of a list. */
const MAX_QUOTED_CHARACTERS = 200, MAX_QUOTED_ITEMS = 20;

/** Returns `text`, or its first `characters` characters and `…` if it is longer. The default is 200. */
export function shortened(text: string, characters: number = MAX_QUOTED_CHARACTERS): string {
  return text.length <= characters ? text : `${text.slice(0, characters).toWellFormed()}…`;
}

/** Returns `items`, or the first 20 of them if there are more. */
export function firstItems<T>(items: readonly T[]): readonly T[] {
  return items.slice(0, MAX_QUOTED_ITEMS);
}

/** Joins `items` to a text such as `2, 3, 4`. Of a list with more than 20 items, the rest is replaced by its number. */
export function joinedItems(items: readonly unknown[], separator = ", "): string {
  const parts = firstItems(items).map((item) => shortened(String(item)));
  const omitted = items.length - parts.length;
  return omitted === 0 ? parts.join(separator) : [...parts, `… and ${omitted} more`].join(separator);
}

/** The most characters of the message of an error, so that no value from outside fills a screen or a log. */
const MAX_MESSAGE_CHARACTERS = 1000;

/** Returns `message`, or its beginning if it is longer than a message may be. */
export function shortMessage(message: string): string {
  return shortened(message, MAX_MESSAGE_CHARACTERS - 1);
}

/** Returns `value` as JSON, or its beginning if the JSON is long. */
export function quote(value: unknown): string {
  return shortened(
    JSON.stringify(typeof value === "string" ? value.slice(0, 2 * MAX_QUOTED_CHARACTERS) : value) ??
      "undefined",
  );
}
