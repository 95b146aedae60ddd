/**
 * Formats a changed config.json. JavaScript reads the numbers 30 and 30.0 as the same value and would write both
 * as 30. transformers 5 refuses an integer for some settings that are floating-point numbers, so unchanged
 * settings are written with the digits of the original file.
 */

/** The parts of the standard library that TypeScript does not declare yet: access to the source text of a number. */
interface JsonWithSource {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
}

/**
 * Returns the text of `changed`, indented by two spaces and with a newline at the end.
 * @param original the text of the file from which `config` was parsed
 * @param changed the members of `config`, some of which are replaced, added or removed. A member that is the same
 * value as in `config` counts as unchanged
 */
export function formatConfig(
  original: string,
  config: Readonly<Record<string, unknown>>,
  changed: Readonly<Record<string, unknown>>,
): string {
  const { parse, rawJSON } = JSON as unknown as JsonWithSource;
  const withDigits = parse(
    original,
    (_, value, { source }) => typeof value === "number" && source !== undefined ? rawJSON(source) : value,
  ) as Record<string, unknown>;
  const members = Object.entries(changed).map(([key, value]) => [
    key,
    Object.hasOwn(config, key) && config[key] === value ? withDigits[key] : value,
  ]);
  return JSON.stringify(Object.fromEntries(members), null, 2) + "\n";
}
