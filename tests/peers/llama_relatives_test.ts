/** Compares OLMo 2, Granite, StarCoder2 and SmolLM3 models with transformers. */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { compareFamily, fixtureVariants, type Variant, withDefaults } from "./random_family.ts";

const { olmo2, granite, starcoder2, smollm3 } = FAMILY_MODELS;

const ANOTHER_THETA: Variant = {
  settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } },
};

await compareFamily("OLMo 2", olmo2.base, {
  ...fixtureVariants(olmo2),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with one key head": { settings: { num_key_value_heads: 1 } },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4 },
    rewrite: withDefaults,
  },
});

await compareFamily("Granite", granite.base, {
  ...fixtureVariants(granite),
  "with a tied head": { settings: { tie_word_embeddings: true } },
  "with another theta": ANOTHER_THETA,
  "with heads of another size": { settings: { head_dim: 6 } },
  "with a config.json that leaves the defaults out": {
    settings: { num_key_value_heads: 4 },
    rewrite: withDefaults,
  },
});

await compareFamily("StarCoder2", starcoder2.base, {
  ...fixtureVariants(starcoder2),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with another theta": ANOTHER_THETA,
  "with a config.json that leaves the defaults out": { settings: {}, rewrite: withDefaults },
});

await compareFamily("SmolLM3", smollm3.base, {
  ...fixtureVariants(smollm3),
  "with an untied head": { settings: { tie_word_embeddings: false } },
  "with another theta": ANOTHER_THETA,
  "with an interval of blocks that do not rotate": {
    settings: { no_rope_layers: null, no_rope_layer_interval: 2, num_hidden_layers: 3 },
    rewrite: ({ no_rope_layers: _, layer_types: __, ...config }) => config,
  },
  "with a config.json that leaves the defaults out": {
    settings: { num_hidden_layers: 4, num_key_value_heads: 4, no_rope_layers: null },
    rewrite: withDefaults,
  },
});
