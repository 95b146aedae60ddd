/** Writes the command line that repeats a run. */

import type { RunReport } from "../../report/run_report.ts";

/** A word that a shell passes on as it is. */
const PLAIN_WORD = /^[\w.,/:=@%+-]+$/;

/**
 * Returns the command line of a run. Every parameter is named, so that the command stays the same if a default changes. The report names files without
 * their folders, and so does the command.
 * @param options the texts for the perplexity as the report names them, and the number of windows if it was given
 */
export function repeatCommand(
  { model, calibration, parameters }: Pick<RunReport, "model" | "calibration" | "parameters">,
  options: { readonly text: readonly string[]; readonly windows?: number; readonly format: string },
): string {
  const { text, samples, seqlen, seed } = calibration;
  const values: [name: string, value: unknown][] = [
    ["calibration", text],
    ["samples", samples],
    ["seqlen", seqlen],
    ["seed", seed],
    ...Object.entries(parameters).filter(([name, value]) => name !== "pattern" || value !== "unstructured"),
    ["format", options.format],
    ["text", options.text],
    ["windows", options.windows],
  ];
  const words = values.flatMap(([name, value]) => {
    const option = `--${name.replaceAll("_", "-")}`;
    if (value === true) return [option];
    const given = [value].flat().filter((item) => item !== undefined && item !== null && item !== false);
    return given.flatMap((item) => [option, String(item)]); // an option with several values is repeated
  });
  return ["pare", "prune", model.name, "--out", "FOLDER", ...words].map(quote).join(" ");
}

/** Quotes a word for the shells of Unix. */
function quote(word: string): string {
  return PLAIN_WORD.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
