/** Parses options whose values are patterns of layer names. */

/** Adds the patterns of one use of an option. They are separated by commas. A regular expression may contain commas, so it is not split. */
export function collectPatterns(text: string, earlier: readonly string[] = []): string[] {
  const isExpression = text.startsWith("/") && text.endsWith("/");
  return [...earlier, ...isExpression ? [text] : text.split(",")];
}
