/** Compares BLOOM models with transformers. */

import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, withDefaults } from "./random_family.ts";

const BASE: Settings = { model_type: "bloom", vocab_size: 29, hidden_size: 24, n_layer: 2, n_head: 4 };

await compareFamily("BLOOM", BASE, {
  "with four heads": { settings: {} },
  "with six heads, which is not a power of two": { settings: { n_head: 6 } },
  "with one head": { settings: { n_head: 1 } },
  "with residuals after the norms": { settings: { apply_residual_connection_post_layernorm: true } },
  "with a large epsilon": { settings: { layer_norm_epsilon: 0.01 } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": {
    settings: {},
    rewrite: withDefaults,
    same: "with four heads",
  },
  "with the names of sizes that published checkpoints have": {
    settings: {},
    rewrite: ({ hidden_size, n_head, n_layer, ...config }) => (
      { ...config, n_embed: hidden_size, num_attention_heads: n_head, num_hidden_layers: n_layer }
    ),
    same: "with four heads",
  },
  "without the head in the file": { settings: {}, savedAs: "headless", same: "with four heads" },
  "with a head in the file that config.json ties to the embedding": {
    settings: { tie_word_embeddings: true },
    savedAs: "second head",
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});
