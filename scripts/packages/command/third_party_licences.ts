/** Collects the licences of the libraries in the bundles. Most licences require that copies of a library carry their text. */

import { ROOT } from "./places.ts";

/** Matches the path of a module of a library. The first group is the folder of the library. */
const LIBRARY_MODULE = /^(.*node_modules\/(?:@[^/]+\/)?[^/@][^/]*)\//;

/** Names of files with a licence. */
const LICENCE_FILE = /^(licen[cs]e|copying)([.-].*)?$/i;

/**
 * Returns the name, the version and the licence of each library, with the text of the licence.
 * @param modules the paths of the modules in the bundles, relative to the root of the repository
 * @throws {Error} if a library does not say which licence it has
 */
export async function thirdPartyLicences(modules: readonly string[]): Promise<string> {
  const folders = new Set(modules.flatMap((path) => LIBRARY_MODULE.exec(path)?.[1] ?? []));
  const texts = await Promise.all([...folders].map((folder) => describeLicence(`${ROOT}/${folder}`)));
  return [...new Set(texts)].sort().join(`\n${"-".repeat(80)}\n\n`);
}

async function describeLicence(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
  if (!license) throw new Error(`${folder}: its package.json names no licence`);
  const files = (await Array.fromAsync(Deno.readDir(folder))).filter((entry) =>
    LICENCE_FILE.test(entry.name)
  );
  const texts = await Promise.all(files.map((entry) => Deno.readTextFile(`${folder}/${entry.name}`)));
  return `${name} ${version}, ${license} licence\n\n${texts.map((text) => `${text.trim()}\n`).join("\n")}`;
}
