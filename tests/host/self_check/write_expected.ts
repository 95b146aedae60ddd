/**
 * Writes the numbers that the self-check of a device expects. Run `deno task generate`, which runs this program, after a change
 * of the kernels' declarations, because they contain the cases of the check.
 */

import { expectedFingerprints } from "./expected.ts";
import { expectedLayers } from "./expected_layers.ts";

export const EXPECTED_FILE = new URL("../../../src/host/self_check/expected.json", import.meta.url);

/** Returns the contents of the file, with one line per case. */
export function renderExpected(): string {
  const lines = Object.entries({ ...expectedFingerprints(), ...expectedLayers() }).map(([name, outputs]) =>
    `  ${JSON.stringify(name)}: ${JSON.stringify(outputs)}`
  );
  return `{\n${lines.join(",\n")}\n}\n`;
}

if (import.meta.main) await Deno.writeTextFile(EXPECTED_FILE, renderExpected());
