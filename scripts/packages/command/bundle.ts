/** Bundles the program with its libraries into a few JavaScript files. */

import { build, type Plugin } from "esbuild";
import { builtinModules } from "node:module";
import { relative } from "node:path";
import { ENTRIES, ROOT } from "./places.ts";
import { rewriteImportMeta } from "./source_urls.ts";

/** Some packages from npm are CommonJS modules, which call `require` for modules of Node. */
const REQUIRE =
  'import { createRequire as createRequireOf } from "node:module"; const require = createRequireOf(import.meta.url);';

/** Deno imports the modules of Node only with the prefix `node:`, which some packages leave out. */
const NODE_MODULES = Object.fromEntries(
  builtinModules.filter((name) => /^[a-z]\w*$/.test(name)).map((name) => [name, `node:${name}`]),
);

/** Rewrites `import.meta` in the modules of the repository. */
const sourceUrls: Plugin = {
  name: "source-urls",
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const module = relative(ROOT, path);
      if (!/^(src|routes|shaders)\//.test(module)) return undefined;
      return { contents: rewriteImportMeta(await Deno.readTextFile(path), module), loader: "ts" };
    });
  },
};

/** Bundles the launcher, `pare.ts`, into one file. */
export async function bundleLauncher(outfile: string): Promise<void> {
  await build({
    absWorkingDir: ROOT,
    entryPoints: ["scripts/packages/command/pare.ts"],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    banner: { js: "#!/usr/bin/env node" },
    logLevel: "warning",
  });
}

/** Bundles the program into the folder `outdir`. Returns the paths of all bundled modules, relative to the root. */
export async function bundleProgram(outdir: string): Promise<string[]> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: Object.entries(ENTRIES).map(([path, name]) => ({
      in: path,
      out: name.replace(/\.js$/, ""),
    })),
    outdir,
    bundle: true,
    splitting: true, // modules that are imported dynamically are loaded only when they are needed
    chunkNames: "[name]-[hash]",
    format: "esm",
    platform: "node",
    target: "esnext",
    conditions: ["deno"],
    alias: NODE_MODULES,
    minifySyntax: true,
    minifyWhitespace: true, // names stay, so that stack traces can be read
    legalComments: "none", // the licences are in a file of their own
    loader: { ".css": "text", ".wgsl": "text" },
    banner: { js: REQUIRE },
    plugins: [sourceUrls],
    metafile: true,
    logLevel: "warning",
  });
  return Object.keys(metafile.inputs);
}
