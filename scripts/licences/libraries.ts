/** Collects the licences of libraries from `node_modules`. Most licences require that copies of a library carry their text. */

/** Matches the path of a module of a library. The first group is the folder of the library. */
const LIBRARY_MODULE = /^(.*node_modules\/(?:@[^/]+\/)?[^/@][^/]*)\//;

/** The comment of `deno bundle` above the code of each module, such as `// node_modules/.deno/zod@4.6.7/node_modules/zod/index.js`. */
const MODULE_COMMENT = /^\/\/ (node_modules\/\S+)$/gm;

const LICENCE_FILE = /^(licen[cs]e|copying)([.-].*)?$/i;

export interface Library {
  readonly name: string;
  readonly version: string;
  /** The SPDX expression in its `package.json`, such as `MIT`. */
  readonly licence: string;
  /** The texts of its files with a licence. Some libraries have none. */
  readonly texts: readonly string[];
}

/**
 * Returns the libraries to which `modules` belong, sorted by name and version.
 * @param modules paths of modules, relative to `root`. Modules that belong to no library are left out
 * @param root the folder of `node_modules`, without a slash at the end
 * @throws {Error} if the `package.json` of a library names no licence
 */
export async function librariesOf(modules: readonly string[], root: string): Promise<Library[]> {
  const folders = new Set(modules.flatMap((path) => LIBRARY_MODULE.exec(path)?.[1] ?? []));
  const libraries = await Promise.all([...folders].map((folder) => readLibrary(`${root}/${folder}`)));
  const byName = new Map(libraries.map((library) => [`${library.name} ${library.version}`, library]));
  return [...byName].sort(([a], [b]) => a < b ? -1 : 1).map(([, library]) => library);
}

/** Returns the paths of the libraries' modules in a bundle that `deno bundle` has written without `--minify`. */
export function modulesOfBundle(bundle: string): string[] {
  return [...bundle.matchAll(MODULE_COMMENT)].map(([, path]) => path);
}

/** Returns the text of a file `THIRD_PARTY_LICENSES`: the name, the version and the licence of each library. */
export function licencesText(libraries: readonly Library[]): string {
  return libraries.map(({ name, version, licence, texts }) =>
    `${name} ${version}, ${licence} licence\n\n${texts.map((text) => `${text.trim()}\n`).join("\n")}`
  ).join(`\n${"-".repeat(80)}\n\n`);
}

async function readLibrary(folder: string): Promise<Library> {
  const { name, version, license } = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
  if (typeof license !== "string") throw new Error(`${folder}: its package.json names no licence`);
  const files = (await Array.fromAsync(Deno.readDir(folder))).map((entry) => entry.name);
  const texts = files.filter((file) => LICENCE_FILE.test(file)).sort()
    .map((file) => Deno.readTextFile(`${folder}/${file}`));
  return { name, version, licence: license, texts: await Promise.all(texts) };
}
