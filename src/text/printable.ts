/** Makes texts from files and servers safe to print on a terminal. */

/** Control characters other than tabs and line feeds, and the characters that change the direction of the text after them. */
const UNPRINTABLE = /(?![\t\n])\p{Cc}|[\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Replaces control characters by escapes such as `\u001b`, because a terminal would obey them. The name of a tensor could otherwise move the
 * cursor or hide a message. A JSON text keeps its value.
 */
export function printable(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
