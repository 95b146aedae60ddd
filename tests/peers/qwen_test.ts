/** Compares Qwen2 and Qwen3 models with transformers. */

import { compareFamily, LLAMA_BASE, type Variant, withDefaults } from "./random_family.ts";

/** Sliding windows of four tokens in some of the blocks. */
const SLIDING = { use_sliding_window: true, sliding_window: 4 };

const WINDOWS: Readonly<Record<string, Variant>> = {
  "without sliding windows": { settings: {} },
  "with a sliding window that is switched off": {
    settings: { use_sliding_window: false, sliding_window: 4, max_window_layers: 0 },
    same: "without sliding windows",
  },
  "with a sliding window in every block": { settings: { ...SLIDING, max_window_layers: 0 } },
  "with a sliding window in the second block": { settings: { ...SLIDING, max_window_layers: 1 } },
  "with a sliding window in the first block": {
    settings: { ...SLIDING, layer_types: ["sliding_attention", "full_attention"] },
  },
  "with a sliding window and without a list of the types of blocks": {
    settings: { ...SLIDING, max_window_layers: 1 },
    rewrite: ({ layer_types: _, ...config }) => config,
    same: "with a sliding window in the second block",
  },
  "with a tied head": { settings: { tie_word_embeddings: true } },
};

await compareFamily("Qwen2", { model_type: "qwen2", ...LLAMA_BASE }, {
  ...WINDOWS,
  "with a config.json that leaves the defaults out": {
    settings: { hidden_size: 64, num_attention_heads: 32, num_key_value_heads: 32 },
    rewrite: withDefaults,
  },
  "with another theta": { settings: { rope_parameters: { rope_type: "default", rope_theta: 100 } } },
});

await compareFamily("Qwen3", { model_type: "qwen3", ...LLAMA_BASE, head_dim: 10 }, {
  ...WINDOWS,
  "with biases of attention": { settings: { attention_bias: true } },
  "with a large epsilon, also in the norms of heads": { settings: { rms_norm_eps: 0.1 } },
  "with a config.json that leaves the defaults out": {
    settings: { head_dim: 128, num_attention_heads: 32, num_key_value_heads: 32 },
    rewrite: withDefaults,
  },
});
