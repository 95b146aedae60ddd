/** Encodes the report of a layer as HTTP headers. */

import type { Report } from "./report.ts";

/** Returns the headers `Pare-Report` and `Server-Timing`. */
export function reportHeaders(report: Report): Record<string, string> {
  const phases = Object.entries(report.seconds);
  return {
    "Pare-Report": asciiJson(report),
    "Server-Timing": phases.map(([name, seconds]) => `${name};dur=${(seconds * 1000).toFixed(1)}`).join(", "),
  };
}

/** Encodes a value as JSON in ASCII, because headers cannot carry other characters. The name of an adapter may contain them. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
