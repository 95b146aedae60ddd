/**
 * Installs and starts transformers.js, which runs ONNX models in Node and in browsers. The package is not in the import map, because with its
 * libraries it takes 470 MB.
 */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../../processes/line_process.ts";

const VERSION = "4.3.1";

/** The folder in which npm installs the package. */
const FOLDER = fileURLToPath(new URL("../../../.cache/transformers-js", import.meta.url));

/** The arguments with which npm installs it. The scripts of packages, which would download libraries for GPUs, do not run. */
export const INSTALL_TRANSFORMERS_JS: readonly string[] = [
  ...["install", "--prefix", FOLDER, "--ignore-scripts", "--no-audit", "--no-fund"],
  `@huggingface/transformers@${VERSION}`,
];

/** Returns the reason why transformers.js cannot be used, or undefined if it can. */
export async function transformersJsSkipReason(): Promise<string | undefined> {
  try {
    await Deno.stat(`${FOLDER}/node_modules/@huggingface/transformers`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "transformers.js is missing; `deno task venv transformers-js` installs it";
  }
}

/**
 * Returns the `count` most likely tokens after `prompt`.
 * @param folder a folder that `pare_llm.export_onnx` has written
 * @throws {Error} with the stack of the program if it fails
 */
export async function continueWithTransformersJs(
  folder: string,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const path = fileURLToPath(new URL("transformers_js.mjs", import.meta.url));
  await using node = new LineProcess("node", [path, FOLDER]);
  return (await node.ask<{ readonly tokens: number[] }>({ folder, prompt, count })).tokens;
}
