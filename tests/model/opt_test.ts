/**
 * Tests settings of the OPT family that no fixture of `tests/model/families` has, and how windows are divided into batches.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { evenBatches, largestBatch } from "../../src/model/batches.ts";
import type { ModelSpec } from "../../src/model/families/family.ts";
import { opt } from "../../src/model/families/opt.ts";
import { testRefusedSettings } from "../support/refused_settings.ts";

const CONFIG = {
  model_type: "opt",
  hidden_size: 64,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  ffn_dim: 256,
  vocab_size: 1000,
  max_position_embeddings: 128,
};

function read(settings: object = {}, has: (name: string) => boolean = () => false): ModelSpec {
  return opt.read({ ...CONFIG, ...settings }, has);
}

describe("the OPT family", () => {
  it("finds the tensors of a checkpoint whose names lack the prefix `model.`", () => {
    const spec = read({}, (name) => name === "decoder.embed_tokens.weight");
    assert.equal(spec.block(0).prefix(0), "decoder.layers.0.");
    assert.equal(spec.embedding.positions?.name, "decoder.embed_positions.weight");
  });

  it("reads the settings for a head with its own weight, no biases and no final norm", () => {
    const spec = read({ tie_word_embeddings: false, enable_bias: false, _remove_final_layer_norm: true });
    assert.equal(spec.head.name, "lm_head");
    assert.equal(spec.finalNorm, undefined);
    assert.ok(spec.block(0).groups.flat().every(({ bias }) => !bias));
  });

  testRefusedSettings("OPT", CONFIG, [
    [{ num_attention_heads: 5 }, /hidden_size 64 is not a multiple of num_attention_heads 5/],
    [{ hidden_size: 2052 }, /heads of 513 dimensions are not supported; the limit is 512/],
    [
      { activation_function: "mish" },
      /activation_function: mish is not supported; the supported names are: relu, relu2, gelu/,
    ],
    [{ hidden_size: undefined, ffn_dim: -1 }, /hidden_size: .*; ffn_dim: /],
  ]);
});

describe("the batches of windows", () => {
  const bounds = { maxBufferBytes: 1 << 20, activationBytes: 1 << 30 };

  it("covers every window once, in batches whose sizes differ by at most one", () => {
    for (const windows of [1, 2, 31, 32, 33, 100]) {
      const batches = evenBatches(windows, largestBatch(read(), 32, bounds));
      assert.deepEqual(
        batches.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)),
        Array.from({ length: windows }, (_, i) => i),
      );
      const counts = batches.map(({ count }) => count);
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1);
      // The widest activation has 256 f32 per token, so 32 windows of 32 tokens take exactly 1 MiB.
      assert.equal(batches.length, Math.ceil(windows / 32));
    }
  });

  it("plans one window per batch if memory is short, and refuses a window that is too large for any buffer", () => {
    assert.equal(largestBatch(read(), 32, { ...bounds, activationBytes: 1 }), 1);
    assert.throws(() => largestBatch(read(), 1025, bounds), {
      name: "RangeError",
      message: /window of 1025 tokens: an activation takes 1049600 bytes, .* 1048576; use shorter windows/,
    });
  });
});
