/**
 * Writes the numbers that the self-check of a device expects to `src/self_check/expected.json`. Run it after a change of
 * the cases in `src/self_check/cases/`:
 *
 *     deno task generate
 */

import { expectedFingerprints } from "./expected.ts";
import { expectedLayers } from "./expected_layers.ts";

/** The file with the expected numbers. */
export const EXPECTED_FILE = new URL("../../src/self_check/expected.json", import.meta.url);

/** Returns the contents of the file, with one line per case. */
export function renderExpected(): string {
  const lines = Object.entries({ ...expectedFingerprints(), ...expectedLayers() }).map(([name, outputs]) =>
    `  ${JSON.stringify(name)}: ${JSON.stringify(outputs)}`
  );
  return `{\n${lines.join(",\n")}\n}\n`;
}

if (import.meta.main) await Deno.writeTextFile(EXPECTED_FILE, renderExpected());
