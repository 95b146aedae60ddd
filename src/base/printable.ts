/**
 * Makes texts safe to print. A checkpoint, a server or a job may contain names with control characters, with which it could move the
 * cursor, change colours or hide what a terminal shows.
 */

/**
 * Matches the characters that are escaped: control characters, line separators, the characters that reverse the direction of text, and
 * halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/**
 * Returns `text` in one line in which every control character has the form of an escape of JSON, such as `\u001b`. A line of JSON
 * therefore stays valid JSON.
 */
export function printableLine(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Returns `text` with its lines and tabs, and with all other control characters escaped as by {@link printableLine}. */
export function printableText(text: string): string {
  return text.replace(/[^\n\t]+/g, printableLine);
}
