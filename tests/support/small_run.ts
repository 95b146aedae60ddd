/** Jobs of `pruneIntoFolder` on a random OPT model of three blocks. A run takes less than a second. */

import { after } from "@std/testing/bdd";
import { makeRandomOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openModel } from "../../src/model/model.ts";
import type { FolderJob } from "../../src/prune/run/folder_destination.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const SHAPE = { layers: 3, hidden: 8, heads: 2, ffn: 16, vocabulary: 2048, positions: 8 };

export const PREFIX = "model.decoder.layers";
/** The layers that are pruned: two of the first block, and one of the last. */
export const CHOSEN = ["0.self_attn.q_proj", "0.fc1", "2.fc2"].map((name) => `${PREFIX}.${name}.weight`);

/**
 * Writes and opens the model, and closes it after the tests of the file.
 * @param shape sizes that differ from the usual ones
 * @returns the opened model, an empty folder, and a function that makes a job with the output folder `out`
 */
export async function openSmallModel(shape: Partial<typeof SHAPE> = {}) {
  const folder = temporaryFolder();
  await makeRandomOpt(`${folder}/model`, { ...SHAPE, ...shape });
  const checkpoint = await openCheckpoint(`${folder}/model`, denoFileSystem), model = openModel(checkpoint);
  after(() => checkpoint.close());
  const job = (out: string, changes: Partial<FolderJob> = {}): FolderJob => ({
    checkpoint,
    model,
    windows: [Uint32Array.of(7, 300, 2, 45, 1999, 8), Uint32Array.of(1, 2, 3, 5, 8, 13)],
    layers: new Set(CHOSEN),
    queryOf: () => ({ sparsity: 0.5 }),
    activations: "disk",
    out,
    fingerprint: { "--sparsity": "0.5" },
    reportFileNames: ["pare.json"],
    reportFiles: ({ layers }) =>
      Promise.resolve(new Map([["pare.json", JSON.stringify(layers.map(({ name }) => name))]])),
    ...changes,
  });
  return { folder, checkpoint, model, job };
}
