/** Collects the licences of the libraries that a bundle contains. The licences require that copies of the libraries carry their texts. */

/** The comment of the bundler above the code of each file, such as `// node_modules/.deno/zod@4.6.7/node_modules/zod/v4/core/util.js`. */
const LIBRARY_FILE = /^\/\/ (node_modules\/\.deno\/[^/]+\/node_modules\/((?:@[^/]+\/)?[^/]+))\//gm;

/**
 * Returns the name, the version and the licence text of each library in `bundle`.
 * @param bundle the text of a bundle that is not minified
 * @param root the folder of `node_modules`
 * @throws {Error} if a library has no file with its licence
 */
export async function licencesOfBundle(bundle: string, root: URL): Promise<string> {
  const folders = new Map([...bundle.matchAll(LIBRARY_FILE)].map(([, folder, name]) => [name, folder]));
  const texts = [...folders].sort().map(([name, folder]) => licenceOf(name, new URL(`${folder}/`, root)));
  return (await Promise.all(texts)).join("\n\n");
}

async function licenceOf(name: string, folder: URL): Promise<string> {
  const { version, license } = JSON.parse(await Deno.readTextFile(new URL("package.json", folder)));
  for await (const entry of Deno.readDir(folder)) {
    if (!/^licen[cs]e(\.md|\.txt)?$/i.test(entry.name)) continue;
    const text = await Deno.readTextFile(new URL(entry.name, folder));
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  }
  throw new Error(`library ${name} ${version}: has no file with its licence`);
}
