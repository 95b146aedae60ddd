/** Tests the families that can be shrunk, and their configurations. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { configWithoutBlocks, feedForwardNames } from "../../../src/prune/shrink/shrinkable_families.ts";

it("feedForwardNames() refuses other families by name, and says why BLOOM cannot be shrunk", () => {
  assert.equal(feedForwardNames({ model_type: "qwen3" }).setting, "intermediate_size");
  assert.throws(() => feedForwardNames({ model_type: "bloom" }), {
    name: "ModelError",
    message:
      'config.json: a model of model_type "bloom" cannot be shrunk, because its feed-forward networks always have ' +
      "4 · hidden_size neurons; the types that can be shrunk are: opt, llama, mistral, qwen2, qwen3",
  });
  assert.throws(() => feedForwardNames({ model_type: "toString" }), /"toString" cannot be shrunk; the types/);
});

it("configWithoutBlocks() moves the settings of the later blocks, and keeps all others", () => {
  const layer_types = ["a", "b", "c", "d", "e"];
  const config = { hidden_size: 8, num_hidden_layers: 5, layer_types, max_window_layers: 3 };
  assert.deepEqual(configWithoutBlocks(config, new Set([1, 3])), {
    hidden_size: 8,
    num_hidden_layers: 3,
    layer_types: ["a", "c", "e"],
    max_window_layers: 2,
  });
  assert.equal(configWithoutBlocks(config, new Set()), config);
});
