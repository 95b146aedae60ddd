/** Lists the files of the package `pare-llm`, with their sources in the repository and their names in the package. */

import { fileURLToPath } from "node:url";

/** The root of the repository, without a slash at the end. */
export const ROOT = fileURLToPath(new URL("../../../", import.meta.url)).replace(/\/$/, "");

/**
 * The modules that start the program or a worker, each with the name of its bundle in `dist/`. All bundles are in one
 * folder, so the URLs in a module are the same whichever bundle contains the module.
 */
export const ENTRIES: Readonly<Record<string, string>> = {
  "src/cli/main.ts": "main.js",
  "src/device/cpu/worker.ts": "cpu_worker.js",
  "src/device/webgpu/worker.ts": "webgpu_worker.js",
};

/** The texts that the program reads, and the page about their sources and licences, each with its name in `dist/`. */
export const TEXT_FILES: Readonly<Record<string, string>> = Object.fromEntries(
  ["calibration.jsonl", "evaluation.jsonl", "README.md"].map((
    name,
  ) => [`src/prune/texts/own/${name}`, `texts/${name}`]),
);

/** The files of `build/` that the program reads. They are copied to `dist/` under the same names. */
export const ASSETS = ["kernels.wasm", "kernels_single.wasm", "scalar.js.gz", "pages/files.json"] as const;
