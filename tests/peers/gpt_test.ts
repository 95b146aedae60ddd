/** Compares GPT-2 and GPT-NeoX models with transformers. */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, withDefaults } from "./random_family.ts";

const { gpt2, gpt_neox: neox } = FAMILY_MODELS;

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
  "with a head in the file that config.json ties to the embedding": {
    settings: { tie_word_embeddings: true },
    savedAs: "second head",
  },
  "in bfloat16": { settings: {}, dtype: "bfloat16" },
});

await compareFamily("GPT-NeoX", neox.base, {
  ...fixtureVariants(neox),
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
