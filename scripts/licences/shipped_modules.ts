/** Finds the modules that Pare hands on to others: in its packages, in the Worker, and in the scripts of its pages. */

import { build, stop } from "esbuild";
import { ENTRIES, ROOT } from "../packages/command/places.ts";

/** The modules with which the bundles begin that leave this repository. */
const SHIPPED = [
  ...Object.keys(ENTRIES), // the package pare-llm and the image
  "scripts/packages/command/pare.ts", // the launcher of this package
  "src/client/mod.ts", // the package pare-llm-client
  "src/edge/worker.ts", // the Worker
  ...["playground", "jobs", "docs", "copy"].map((name) => `src/pages/browser/${name}.ts`),
];

/** A file of the compiler of the kernels, which links parts of its own library into `kernels.wasm`. */
export const COMPILER = "node_modules/assemblyscript/package.json";

/** Returns the paths of all modules, relative to the root of the repository, with those of libraries. */
export async function shippedModules(): Promise<string[]> {
  try {
    const { metafile } = await build({
      absWorkingDir: ROOT,
      entryPoints: SHIPPED,
      outdir: ROOT,
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      platform: "node",
      conditions: ["deno"],
      external: ["cloudflare:*"],
      loader: { ".css": "text", ".wgsl": "text", ".wasm": "binary" },
      tsconfigRaw: {},
      logLevel: "error",
    });
    return [...Object.keys(metafile.inputs), COMPILER];
  } finally {
    await stop(); // esbuild runs in a process of its own
  }
}
