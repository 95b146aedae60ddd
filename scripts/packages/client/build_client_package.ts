/** Builds the npm package `pare-llm-client`, which is the SDK bundled with its libraries. */

import { VERSION } from "../../../src/protocol/version.ts";
import { librariesOf, licencesText, modulesOfBundle } from "../../licences/libraries.ts";
import { ROOT } from "../command/places.ts";
import { buildBrowserBundle, bundleClient } from "./bundle_client.ts";
import { MAIN_DECLARATION, writeDeclarations } from "./write_declarations.ts";

/** The declarations for the main file and for the file for browsers. */
const TYPES = `./dist/types/${MAIN_DECLARATION}`;

const PACKAGE = {
  name: "pare-llm-client",
  version: VERSION,
  description: "Client of Pare, an HTTP API that prunes large language models layer by layer",
  license: "MIT",
  keywords: ["pruning", "sparsity", "quantization", "llm", "sparsegpt", "safetensors"],
  type: "module",
  sideEffects: false,
  engines: { node: ">=20" },
  exports: {
    ".": { types: TYPES, default: "./dist/mod.js" },
    "./browser": { types: TYPES, default: "./dist/pare-client.min.js" },
    "./package.json": "./package.json",
  },
  types: TYPES,
  files: ["dist", "THIRD_PARTY_LICENSES"],
};

/** Writes the package. @throws {Error} if the bundler or the compiler fails, or if a bundled library has no licence */
export async function buildClientPackage(folder: string): Promise<void> {
  await Deno.mkdir(`${folder}/dist`);
  await bundleClient(`${folder}/dist/mod.js`, { minify: false });
  await buildBrowserBundle(`${folder}/dist/pare-client.min.js`);
  await writeDeclarations(`${folder}/dist/types`);
  const modules = modulesOfBundle(await Deno.readTextFile(`${folder}/dist/mod.js`));
  const libraries = await librariesOf(modules, ROOT);
  await Deno.writeTextFile(`${folder}/THIRD_PARTY_LICENSES`, licencesText(libraries));
  await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify(PACKAGE, null, 2) + "\n");
  await Deno.copyFile(`${ROOT}/LICENSE`, `${folder}/LICENSE`);
  await Deno.copyFile(new URL("package_readme.md", import.meta.url), `${folder}/README.md`);
}
