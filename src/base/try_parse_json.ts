/** Parses JSON from a source that may send something else, such as the error page of a proxy. */

/** Parses `text` as JSON. Returns undefined if it is not valid JSON. */
export function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
