/**
 * The launcher `pare` of the npm package, bundled to bin/pare.mjs. It starts the Deno that the npm package `deno`
 * brings. If the launcher itself runs in Deno, for example after `deno install`, it starts the same Deno again, with
 * the V8 flags of the command.
 */

import { createRequire } from "node:module";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { denoEnvironment } from "../../launcher/deno_environment.ts";
import { launch, RUN } from "../../launcher/launch.ts";

const MAIN = fileURLToPath(new URL("../dist/main.js", import.meta.url));

/** The flags that keep Deno from looking for modules anywhere else than in the package. */
const FLAGS = ["--no-config", "--no-lock", "--no-npm", "--no-remote"];

/** Returns the path and the version of Deno. @throws {Error} if npm has not installed Deno for this machine */
function findDeno(): { path: string; version: string } {
  const { deno } = process.versions;
  if (deno) return { path: process.execPath, version: deno };
  const require = createRequire(import.meta.url);
  return {
    path: require("deno/install_api.cjs").runInstall(),
    version: require("deno/package.json").version,
  };
}

try {
  const { path, version } = findDeno();
  launch(path, [...RUN, ...FLAGS, MAIN, ...process.argv.slice(2)], denoEnvironment(path, version));
} catch (error) {
  console.error(
    `error: Deno, which runs pare, was not found: ${error instanceof Error ? error.message : error}`,
  );
  console.error("reinstall pare-llm without the npm options --omit=optional and --no-optional");
  process.exitCode = 1;
}
