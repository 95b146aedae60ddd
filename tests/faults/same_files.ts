/** Compares folders of files. */

import { equalBytes } from "../../scripts/soak/comparable_answer.ts";

/** The report names times and the number of interruptions, so it differs between runs. */
const REPORTS = ["pare.json", "report.html"];

/**
 * Checks that two folders have the same files with the same bytes. The contents of the reports are not compared.
 * @throws {Error} that names the first difference
 */
export async function requireSameFiles(folder: string, expected: string): Promise<void> {
  const [names, wanted] = [await fileNames(folder), await fileNames(expected)];
  if (names.join() !== wanted.join()) {
    throw new Error(`${folder} has the files ${names.join(", ")} instead of ${wanted.join(", ")}`);
  }
  for (const name of names.filter((name) => !REPORTS.includes(name))) {
    const [bytes, right] = await Promise.all(
      [folder, expected].map((path) => Deno.readFile(`${path}/${name}`)),
    );
    if (!equalBytes(bytes, right)) {
      throw new Error(`${folder}/${name} has other bytes than ${expected}/${name}`);
    }
  }
}

async function fileNames(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) names.push(name);
  return names.sort();
}
