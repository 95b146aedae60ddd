/** Tests which changes of a checkpoint change its fingerprint, by which a resumed run recognizes its model. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import {
  checkpointFingerprint,
  differences,
  type RunFingerprint,
} from "../../../src/prune/run/fingerprint.ts";
import { patternTensor, shardedCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const SHARD = "model-00002-of-00002.safetensors";

async function fingerprint(folder: string): Promise<RunFingerprint> {
  const checkpoint = await openCheckpoint(folder, denoFileSystem);
  try {
    return await checkpointFingerprint(checkpoint, denoFileSystem);
  } finally {
    await checkpoint.close();
  }
}

describe("checkpointFingerprint", () => {
  for (
    const [what, change, named] of [
      [
        "the configuration",
        { "config.json": { model_type: "opt", x: 1 } },
        /^model configuration was sha256/,
      ],
      ["the tokenizer", { "tokenizer.json": "{}" }, /^tokenizer.json was sha256:.* and is sha256:/],
      ["the set of tokenizer files", { "merges.txt": "" }, /^merges.txt was absent and is sha256:/],
      [
        "the name of a tensor",
        { [SHARD]: { c: patternTensor("F16", [10], 1) } },
        new RegExp(`^header of ${SHARD} was`),
      ],
      ["a file that no run reads", { "notes.txt": "" }, undefined],
    ] as const
  ) {
    it(`${named ? "differs" : "does not differ"} after a change of ${what}`, () =>
      withTemporaryFolder(async (folder) => {
        await writeFiles(folder, shardedCheckpoint());
        const before = await fingerprint(folder);
        await writeFiles(folder, change);
        const changed = differences(before, await fingerprint(folder));
        if (named) assert.match(changed[0], named);
        else assert.deepEqual(changed, []);
      }));
  }

  it("differs in the time of modification if the same weights were written again", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, shardedCheckpoint());
      const before = await fingerprint(folder);
      assert.deepEqual(differences(before, await fingerprint(folder)), []);
      await Deno.utime(`${folder}/${SHARD}`, 1_000_000_000, 1_000_000_000);
      const [changed, ...others] = differences(before, await fingerprint(folder));
      assert.match(
        changed,
        new RegExp(`^${SHARD} was \\d+ bytes of 20.*and is \\d+ bytes of 2001-09-09T01:46:40`),
      );
      assert.deepEqual(others, []);
    }));
});
