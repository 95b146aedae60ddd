/**
 * Compares the model families whose blocks are not derived from LLaMA's with transformers. They are in one file, because its tests
 * share one Python process, and importing transformers takes longer than a comparison.
 */

import { FAMILY_MODELS, type Settings } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, SECOND_HEAD, withDefaults } from "./random_family.ts";

const { gpt2, gpt_neox, falcon } = FAMILY_MODELS;

const OPT_BASE: Settings = {
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
  OPT_BASE,
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
    ...SECOND_HEAD,
    "in float16": { settings: {}, dtype: "float16" },
  },
  // Such a bias adds the same number to all scores of a query, so the softmax removes it.
  ["self_attn.k_proj.bias"],
);

const BLOOM_BASE: Settings = { model_type: "bloom", vocab_size: 29, hidden_size: 24, n_layer: 2, n_head: 4 };

await compareFamily("BLOOM", BLOOM_BASE, {
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
  ...SECOND_HEAD,
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

await compareFamily("GPT-2", gpt2.base, {
  ...fixtureVariants(gpt2),
  "with a feed-forward network of the default size": { settings: { n_inner: null } },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": {
    settings: { n_inner: null },
    rewrite: (config) => ({
      ...withDefaults(config),
      n_embd: config.n_embd,
      n_positions: config.n_positions,
    }),
    same: "with a feed-forward network of the default size",
  },
  "in several shards": { settings: {}, savedAs: "shards", same: "with four heads" },
  "without the head in the file": { settings: {}, savedAs: "headless", same: "with four heads" },
  "in a file of torch.save": { settings: {}, savedAs: "pickle", same: "with four heads" },
  ...SECOND_HEAD,
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

await compareFamily("GPT-NeoX", gpt_neox.base, {
  ...fixtureVariants(gpt_neox),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with linear scaling": {
    settings: {
      rope_parameters: { rope_type: "linear", rope_theta: 100, factor: 3, partial_rotary_factor: 0.5 },
    },
  },
  "with the rotary settings of older versions": {
    settings: { rope_parameters: { rope_type: "default", rope_theta: 50, partial_rotary_factor: 0.5 } },
    rewrite: ({ rope_parameters: _, ...config }) => ({ ...config, rotary_pct: 0.5, rotary_emb_base: 50 }),
  },
  "with a config.json that leaves the defaults out": { settings: {}, rewrite: withDefaults },
  "in a file of torch.save": {
    settings: {},
    savedAs: "pickle",
    // One pair of dimensions rotates by default, and the angle of the first pair does not depend on theta.
    same: "with a config.json that leaves the defaults out",
  },
});

await compareFamily("Falcon", falcon.base, {
  ...fixtureVariants(falcon),
  "with one key head per query head": { settings: { multi_query: false } },
  "with key heads of their own for all query heads, in the block of Falcon 40B": {
    settings: { new_decoder_architecture: true },
  },
  "with four query heads for each of two key heads": {
    settings: { new_decoder_architecture: true, hidden_size: 32, num_attention_heads: 8, num_kv_heads: 2 },
  },
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with a config.json that leaves the defaults out": {
    settings: { ffn_hidden_size: null },
    rewrite: withDefaults,
  },
});
