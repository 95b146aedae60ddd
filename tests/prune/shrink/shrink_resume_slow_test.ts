/** Tests that `shrinkModel` continues after it was stopped, on a small random model. The result must have the same bytes. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { makeRandomOpt } from "../../../scripts/fixtures/make_random_opt.ts";
import type { WorkFileSystem } from "../../../src/base/files/file_system.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../../src/model/model.ts";
import { type ShrinkJob, shrinkModel, type ShrinkResult } from "../../../src/prune/shrink/shrink_model.ts";
import { FAMILY_FIXTURES } from "../../support/family_fixtures.ts";
import { assertSameAfterKills, killedAfter } from "../../support/failing_file_system.ts";
import { openLocalHost } from "../../support/local_host.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const folder = temporaryFolder();
const SHAPE = { layers: 4, hidden: 8, heads: 2, ffn: 16, vocabulary: 2048, positions: 8 };
await makeRandomOpt(`${folder}/model`, SHAPE);
const { checkpoint, model } = await openModelFolder(`${folder}/model`, denoFileSystem);
const mixture = await openModelFolder(`${FAMILY_FIXTURES}qwen3_moe`, denoFileSystem);
const host = await openLocalHost("cpu"), { backend, pruner } = host;
after(() =>
  Promise.all([host[Symbol.asyncDispose](), checkpoint.close(), mixture.checkpoint.close()]).then(() => {})
);

function shrink(
  out: string,
  changes: Partial<ShrinkJob>,
  fs: WorkFileSystem = denoFileSystem,
): Promise<ShrinkResult> {
  const job: ShrinkJob = {
    ...{ checkpoint, model, out, kept: { neurons: 12 }, blocks: 1, fingerprint: { "--ffn": "0.25" } },
    windows: [Uint32Array.of(7, 20, 2, 15, 19, 8), Uint32Array.of(1, 2, 3, 5, 8, 13)],
    validationWindows: [Uint32Array.of(2, 7, 20, 15, 13, 1)],
    reportFileNames: ["pare.json"],
    reportFiles: ({ run, dropped, similarities }) =>
      Promise.resolve(
        new Map([["pare.json", JSON.stringify({ blocks: run.blocks, dropped, similarities })]]),
      ),
    ...changes,
  };
  // A process that was stopped leaves no damage.
  const onDamage = (description: string) => assert.fail(description);
  return shrinkModel(job, { fs, backend, pruner, onDamage });
}

describe("shrinkModel()", () => {
  for (
    const [what, stride, changes] of [
      ["without a reconstruction", 3, {}],
      ["with reconstructed blocks", 5, { reconstruct: 2 }],
      ["with reconstructed blocks and targets", 7, { reconstruct: 2, target: "dense" }],
      ["with fewer experts and heads of a mixture", 3, { ...mixture, kept: { experts: 3, heads: 2 } }],
    ] satisfies [string, number, Partial<ShrinkJob>][]
  ) {
    it(`writes the same bytes after it was stopped at any change of a file, ${what}`, async () => {
      const expected = `${folder}/whole ${what}`, out = `${folder}/stopped ${what}`;
      const { layers } = await shrink(expected, changes);
      assert.ok(layers.length > 0 && layers.every(({ kept }) => kept!.length === 12));
      await assertSameAfterKills((out, fs) => shrink(out, changes, fs), expected, out, stride, 40);
    });
  }

  it("refuses to continue another run, and names the difference", async () => {
    const out = `${folder}/other`;
    await assert.rejects(shrink(out, {}, killedAfter(denoFileSystem, 30)));
    await assert.rejects(shrink(out, { fingerprint: { "--ffn": "0.5" } }), /--ffn was 0.25 and is 0.5/);
    await shrink(out, { fingerprint: { "--ffn": "0.5" }, restart: true });
  });
});
