/** Builds the npm package `pare-llm`, the command line `pare`, in build/npm/pare-llm. */

import { stop } from "esbuild";
import { VERSION } from "../../../src/protocol/version.ts";
import { bundleLauncher, bundleProgram } from "./bundle.ts";
import { ASSETS, PACKAGE, ROOT } from "./places.ts";

/** The Deno that runs the program. */
const DENO_VERSION = "2.9.6";

/** Writes the package. @throws {Error} if the program cannot be bundled, or if an asset has not been built */
export async function buildCommandPackage(): Promise<void> {
  await Deno.remove(PACKAGE, { recursive: true }).catch(() => {});
  await Deno.mkdir(`${PACKAGE}/dist`, { recursive: true });
  try {
    await bundleLauncher();
    await bundleProgram();
  } finally {
    await stop(); // esbuild runs as a process of its own
  }
  await Deno.chmod(`${PACKAGE}/bin/pare.mjs`, 0o755);
  for (const name of ASSETS) await Deno.copyFile(`${ROOT}/build/${name}`, `${PACKAGE}/dist/${name}`);
  await Deno.copyFile(`${ROOT}/LICENSE`, `${PACKAGE}/LICENSE`);
  await Deno.copyFile(`${ROOT}/scripts/packages/command/README.md`, `${PACKAGE}/README.md`);
  await Deno.writeTextFile(`${PACKAGE}/package.json`, JSON.stringify(manifest(), null, 2) + "\n");
}

/** The contents of package.json. */
function manifest() {
  return {
    name: "pare-llm",
    version: VERSION,
    description: "One-shot pruning of large language models, as a command line and an HTTP server",
    license: "MIT",
    keywords: ["pruning", "sparsity", "llm", "sparsegpt", "webgpu"],
    type: "module",
    bin: { pare: "bin/pare.mjs" },
    files: ["bin", "dist"],
    engines: { node: ">=20" },
    dependencies: { deno: DENO_VERSION },
  };
}
