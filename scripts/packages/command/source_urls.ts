/**
 * Rewrites `import.meta` in the modules of the program. In a bundle, `import.meta` is that of the bundle, so a URL
 * relative to the module of the source would be wrong.
 */

import { dirname, join } from "node:path/posix";
import { ASSETS, ENTRIES, TEXT_FILES } from "./places.ts";

const MODULE_URL = /new URL\((["`])([^"`]+)\1, import\.meta\.url\)/g;

/** The folder of the assets, which is `build/` in the repository. */
const ASSET_FOLDER = "build/";

/**
 * Returns the source of a module with the URLs that are right in the bundle. `import.meta.main` becomes false in every
 * module but the entry, because it would be true in all modules of the main bundle.
 * @param path the module, relative to the root of the repository
 * @throws {Error} if the module names a file that the package does not have, or uses `import.meta` in another way
 */
export function rewriteImportMeta(source: string, path: string): string {
  const rewritten = source
    .replace(MODULE_URL, (_, quote, url) => {
      return `new URL(${quote}./${packagedName(join(dirname(path), url), path)}${quote}, import.meta.url)`;
    })
    .replaceAll("import.meta.main", path === "src/cli/main.ts" ? "import.meta.main" : "false");
  const other = rewritten.split("\n").find((line) =>
    /import\.meta\b/.test(line.replace(MODULE_URL, "").replace("import.meta.main", ""))
  );
  if (other) throw new Error(`${path}: the bundle has no rule for "${other.trim()}"`);
  return rewritten;
}

/** Returns the name in `dist/` of a file of the repository, which may be the placeholder `${name}` of a template. */
function packagedName(target: string, from: string): string {
  const packaged = ENTRIES[target] ?? TEXT_FILES[target];
  if (packaged !== undefined) return packaged;
  const name = target.startsWith(ASSET_FOLDER) ? target.slice(ASSET_FOLDER.length) : "";
  if (name === "${name}" || (ASSETS as readonly string[]).includes(name)) return name;
  throw new Error(`${from}: reads ${target}, which the package does not have`);
}
