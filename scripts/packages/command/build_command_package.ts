/** Builds the npm package `pare-llm`, which has the command line `pare`. */

import { stop } from "esbuild";
import { VERSION } from "../../../src/protocol/version.ts";
import { librariesOf, licencesText } from "../../licences/libraries.ts";
import { COMPILER } from "../../licences/shipped_modules.ts";
import { bundleLauncher, bundleProgram } from "./bundle.ts";
import { ASSETS, ROOT, TEXT_FILES } from "./places.ts";

/** The `package.json` of the package. The version of Deno is the one with which Pare is tested. */
const MANIFEST = {
  name: "pare-llm",
  version: VERSION,
  description: "One-shot pruning of large language models, as a command line and an HTTP server",
  license: "MIT",
  keywords: ["pruning", "sparsity", "quantization", "llm", "sparsegpt", "webgpu"],
  type: "module",
  bin: { pare: "bin/pare.mjs" },
  files: ["bin", "dist", "THIRD_PARTY_LICENSES"],
  engines: { node: ">=20" },
  dependencies: { deno: "2.9.6" },
};

/**
 * Writes the package into the empty `folder`. `dist/main.js` is the program, and `bin/pare.mjs` starts it with Deno.
 * @throws {Error} if the program cannot be bundled, or if an asset has not been built
 */
export async function buildCommandPackage(folder: string): Promise<void> {
  try {
    await bundleLauncher(`${folder}/bin/pare.mjs`);
    const modules = await bundleProgram(`${folder}/dist`);
    const libraries = await librariesOf([...modules, COMPILER], ROOT);
    await Deno.writeTextFile(`${folder}/THIRD_PARTY_LICENSES`, licencesText(libraries));
  } finally {
    await stop(); // esbuild runs in a process of its own
  }
  await Deno.chmod(`${folder}/bin/pare.mjs`, 0o755);
  for (const name of ["pages", "texts"]) await Deno.mkdir(`${folder}/dist/${name}`);
  for (const name of ASSETS) await Deno.copyFile(`${ROOT}/build/${name}`, `${folder}/dist/${name}`);
  for (const [path, name] of Object.entries(TEXT_FILES)) {
    await Deno.copyFile(`${ROOT}/${path}`, `${folder}/dist/${name}`);
  }
  await Deno.copyFile(`${ROOT}/LICENSE`, `${folder}/LICENSE`);
  await Deno.copyFile(`${ROOT}/scripts/packages/command/package_readme.md`, `${folder}/README.md`);
  await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify(MANIFEST, null, 2) + "\n");
}
