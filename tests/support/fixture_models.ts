/** The trained models beside opt-sotu: our own in fixtures, and third-party ones outside the repository. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.ts";

/** Of the shared data's folder, beside the repository. */
export const SHARED = fileURLToPath(new URL("../../../shared", import.meta.url));

/** Opens a fixture; its tokenizer is opt-sotu's. */
export function openFixture(name: "llama-sotu" | "bloom-sotu"): Promise<Checkpoint> {
  return openCheckpoint(
    fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url)),
    denoFileSystem,
  );
}

/** Why a test that reads `path`, in the shared data's folder, cannot run; undefined where it can. */
export async function whySharedMissing(path: string): Promise<string | undefined> {
  return await Deno.stat(`${SHARED}/${path}`).then(() => undefined, () => `there is no ${SHARED}/${path}`);
}
