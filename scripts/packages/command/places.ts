/** Lists the files of the package `pare-llm`, with their sources in the repository and their names in the package. */

import { fileURLToPath } from "node:url";

/** The root of the repository, without a slash at the end. */
export const ROOT = fileURLToPath(new URL("../../../", import.meta.url)).replace(/\/$/, "");

/**
 * The modules that the program loads by URL or that start a process, and the name of the bundle of each of them in `dist/`. The
 * bundles lie side by side, because a module of the program may end up in any of them.
 */
export const ENTRIES: Readonly<Record<string, string>> = {
  "src/cli/main.ts": "main.js",
  "src/device/cpu/worker.ts": "cpu_worker.js",
  "src/device/webgpu/worker.ts": "webgpu_worker.js",
};

/** The files of `build/` that the program reads. They are copied to `dist/` under the same names. */
export const ASSETS = ["kernels.wasm", "kernels_single.wasm", "scalar.js.gz", "pages/files.json"] as const;
