/** Opens the trained test models other than opt-sotu: our own fixtures, and third-party models outside the repository. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.ts";

/** The path of the folder of shared data, which lies beside the repository. */
export const SHARED = fileURLToPath(new URL("../../../shared", import.meta.url));

/** Opens a fixture model. The fixtures have the same tokenizer as opt-sotu. */
export function openFixture(name: "llama-sotu" | "bloom-sotu"): Promise<Checkpoint> {
  return openCheckpoint(
    fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url)),
    denoFileSystem,
  );
}

/** Returns the reason why a test that reads `path` in the folder of shared data is skipped, or undefined if the path exists. */
export async function sharedSkipReason(path: string): Promise<string | undefined> {
  return await Deno.stat(`${SHARED}/${path}`).then(() => undefined, () => `${SHARED}/${path} does not exist`);
}
