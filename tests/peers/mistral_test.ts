/** Compares Mistral models with transformers. */

import { compareFamily, LLAMA_BASE, withDefaults } from "./random_family.ts";

await compareFamily("Mistral", { model_type: "mistral", ...LLAMA_BASE }, {
  "without a sliding window": { settings: { sliding_window: null } },
  "with a sliding window of five tokens": { settings: { sliding_window: 5 } },
  "with a sliding window of two tokens": { settings: { sliding_window: 2 } },
  "with a sliding window as long as the text": {
    settings: { sliding_window: 20 },
    same: "without a sliding window",
  },
  "with a config.json that leaves the defaults out": {
    settings: { hidden_size: 32, num_attention_heads: 16, num_key_value_heads: 8 },
    rewrite: withDefaults,
  },
  "with heads of another size and a tied head": {
    settings: { sliding_window: 5, head_dim: 10, tie_word_embeddings: true },
  },
});
