/**
 * Writes the list of kernels, and the numbers that the self-check of a device expects. Run `deno task generate`, which
 * runs this program, after a change of the kernels' declarations, because they contain the cases of the check.
 */

import { KERNELS_FILE, renderKernelList } from "./kernel_list.ts";

export const EXPECTED_FILE = new URL("../../src/host/self_check/expected.json", import.meta.url);

/** Returns the contents of the file, with one line per case. The list of kernels must be up to date. */
export async function renderExpected(): Promise<string> {
  const { expectedFingerprints } = await import("./expected.ts");
  const { expectedLayers } = await import("./expected_layers.ts");
  const lines = Object.entries({ ...expectedFingerprints(), ...expectedLayers() }).map(([name, outputs]) =>
    `  ${JSON.stringify(name)}: ${JSON.stringify(outputs)}`
  );
  return `{\n${lines.join(",\n")}\n}\n`;
}

if (import.meta.main) {
  await Deno.writeTextFile(KERNELS_FILE, await renderKernelList());
  await Deno.writeTextFile(EXPECTED_FILE, await renderExpected());
}
