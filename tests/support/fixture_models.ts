/**
 * Trained models for tests. They are the project's own models llama-sotu and bloom-sotu in `tests/fixtures`,
 * and third-party models outside the repository. The model opt-sotu has its own file, `opt_sotu.ts`.
 */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";

/** The folder of shared data beside the repository. It holds the third-party models, and may be missing. */
export const SHARED = fileURLToPath(new URL("../../../shared", import.meta.url));

/** Opens one of the project's own models. It uses the tokenizer of opt-sotu. */
export function openFixture(name: "opt-sotu" | "llama-sotu" | "bloom-sotu"): Promise<Checkpoint> {
  return openCheckpoint(
    fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url)),
    denoFileSystem,
  );
}

/** The reason why a test that reads `path` in the folder of shared data must be skipped. Undefined if the path exists. */
export async function sharedSkipReason(path: string): Promise<string | undefined> {
  return await Deno.stat(`${SHARED}/${path}`).then(() => undefined, () => `${SHARED}/${path} does not exist`);
}
