/** The random checkpoint opens as a model, is the same for the same seed, and takes any text. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomOpt } from "../../scripts/make_random_opt.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { openModel } from "../../src/models/model.ts";
import { encodeText, loadTokenizer } from "../../src/models/tokenizer/tokenizer.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const SHAPE = { layers: 2, hidden: 16, heads: 2, ffn: 48, vocabulary: 2051, positions: 32 };

describe("makeRandomOpt", () => {
  it("writes a checkpoint of the shape, its weights spread as OPT's initialisation", () =>
    withTemporaryFolder(async (folder) => {
      await makeRandomOpt(folder, SHAPE);
      const checkpoint = await openCheckpoint(folder, denoFileSystem);
      try {
        const { spec } = openModel(checkpoint);
        assert.deepEqual([spec.blockCount, spec.hiddenSize, spec.vocabSize, spec.maxTokens], [
          2,
          16,
          2051,
          32,
        ]);
        for (const linear of spec.block.groups.flat()) {
          const { shape } = await checkpoint.tensor(`${spec.block.prefix(1)}${linear.name}.weight`);
          assert.deepEqual(shape, [linear.outFeatures, linear.inFeatures]);
        }
        const { data } = await checkpoint.tensor("model.decoder.embed_tokens.weight");
        const values = toFloat32(data, "F16");
        const deviation = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
        assert.ok(Math.abs(deviation / 0.02 - 1) < 0.02, String(deviation));
        const norm = await checkpoint.tensor("model.decoder.layers.0.final_layer_norm.weight");
        assert.deepEqual(toFloat32(norm.data, "F16"), new Float32Array(16).fill(1));
      } finally {
        await checkpoint.close();
      }
      const tokens = encodeText(await loadTokenizer(folder, denoFileSystem), "any text at all", "txt");
      assert.ok(tokens.length > 0 && tokens.every((id) => id < SHAPE.vocabulary));
    }));

  it("writes the same bytes for the same seed only", () =>
    withTemporaryFolder(async (folder) => {
      const weights = async (name: string, seed: number) => {
        await makeRandomOpt(`${folder}/${name}`, SHAPE, seed);
        return await Deno.readFile(`${folder}/${name}/model.safetensors`);
      };
      const first = await weights("first", 1);
      assert.deepEqual(await weights("again", 1), first);
      assert.notDeepEqual(await weights("other", 2), first);
    }));

  it("refuses a vocabulary that the tokenizer's ids exceed", async () => {
    await assert.rejects(makeRandomOpt("unused", { ...SHAPE, vocabulary: 2047 }), RangeError);
  });
});
