/** Tests that a configuration that disagrees with the tensors of its checkpoint is refused when the model is opened. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomOpt } from "../../../scripts/fixtures/make_random_opt.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../../src/model/model.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const folder = temporaryFolder();
await makeRandomOpt(folder, { layers: 3, hidden: 8, heads: 2, ffn: 16, vocabulary: 2048, positions: 8 });
const config = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));

/** Opens the model with changed settings. */
async function open(changes: Record<string, unknown>): Promise<void> {
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify({ ...config, ...changes }));
  await using _ = await openModelFolder(folder, denoFileSystem);
}

describe("openModelFolder()", () => {
  it("opens a model whose tensors are those of the configuration", () => open({}));

  it("refuses a configuration with fewer blocks than the checkpoint, which would leave the last one dense", () =>
    assert.rejects(open({ num_hidden_layers: 2 }), {
      name: "ModelError",
      message: /describes 2 blocks, but the checkpoint has a tensor model\.decoder\.layers\.2\./,
    }));

  it("refuses a configuration with more blocks than the checkpoint", () =>
    assert.rejects(open({ num_hidden_layers: 4 }), {
      name: "ModelError",
      message: /describes 4 blocks, but the checkpoint has no tensor model\.decoder\.layers\.3\./,
    }));

  it("refuses a configuration with 10⁹ blocks within a second", async () => {
    const started = performance.now();
    await assert.rejects(open({ num_hidden_layers: 1e9 }), /describes 1000000000 blocks/);
    assert.ok(performance.now() - started < 1000);
  });

  it("refuses sizes that disagree with the shapes of the tensors, and tensors that are missing", async () => {
    await assert.rejects(
      open({ ffn_dim: 24 }),
      /layers\.0\.fc1\.weight: has shape \[16,8\], config\.json says \[24,8\]/,
    );
    await assert.rejects(
      open({ vocab_size: 2049 }),
      /embed_tokens\.weight: has shape \[2048,8\], config\.json says \[2049,8\]/,
    );
    await assert.rejects(
      open({ max_position_embeddings: 16 }),
      /embed_positions\.weight: has shape \[10,8\], config\.json says \[18,8\]/,
    );
    await assert.rejects(
      open({ word_embed_proj_dim: 4 }),
      /describes a tensor model\.decoder\.project_in\.weight, which the checkpoint does not have/,
    );
  });
});

describe("the epsilon of a norm", () => {
  for (const rms_norm_eps of [0, -1e-5, 1e-300, 1, 1e30, "1e-5", null]) {
    it(`is refused if it is ${JSON.stringify(rms_norm_eps)}`, () =>
      assert.rejects(open({ model_type: "llama", rms_norm_eps }), /config\.json: .*rms_norm_eps: /));
  }
});
