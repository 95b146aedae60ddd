/** Compares OPT models with transformers, in the shapes of opt-125m, opt-350m and Galactica. */

import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, withDefaults } from "./random_family.ts";

const BASE: Settings = {
  model_type: "opt",
  vocab_size: 29,
  hidden_size: 24,
  ffn_dim: 40,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 32,
  pad_token_id: 1,
};

await compareFamily(
  "OPT",
  BASE,
  {
    "shaped like opt-125m": { settings: {} },
    "with norms after each half of a block and a smaller embedding, like opt-350m": {
      settings: { do_layer_norm_before: false, word_embed_proj_dim: 10 },
    },
    "with norms after each half of a block": { settings: { do_layer_norm_before: false } },
    "with a smaller embedding": { settings: { word_embed_proj_dim: 10 } },
    "with a larger embedding and an untied head": {
      settings: { word_embed_proj_dim: 31, tie_word_embeddings: false },
    },
    "with an untied head": { settings: { tie_word_embeddings: false } },
    "without biases and with GELU, like Galactica": {
      settings: { enable_bias: false, activation_function: "gelu" },
    },
    "with norms that have no parameters": { settings: { layer_norm_elementwise_affine: false } },
    "without the last norm": { settings: { _remove_final_layer_norm: true } },
    "with a config.json that leaves the defaults out": {
      settings: {},
      rewrite: withDefaults,
      same: "shaped like opt-125m",
    },
    "without the head in the file": { settings: {}, savedAs: "headless", same: "shaped like opt-125m" },
    "in a file of torch.save": { settings: {}, savedAs: "pickle", same: "shaped like opt-125m" },
    "with a head in the file that config.json ties to the embedding": {
      settings: { tie_word_embeddings: true },
      savedAs: "second head",
    },
    "in float16": { settings: {}, dtype: "float16" },
  },
  // Such a bias adds the same number to all scores of a query, so the softmax removes it.
  ["self_attn.k_proj.bias"],
);
