/**
 * The family Gemma 3 (arXiv 2503.19786) for text: Gemma 2's block with norms of the heads of q and k, and
 * without limits of attention scores. Most blocks have a sliding window and a rotation of their own. Names and
 * arithmetic follow transformers' `Gemma3ForCausalLM`.
 */

import { z } from "zod";
import { positive, readConfig } from "./config/config.ts";
import { readLayerTypes } from "./config/layer_types.ts";
import { readRotary, ropeObject } from "./config/rotary_config.ts";
import type { Family } from "./family.ts";
import { gemmaShape, gemmaTraits } from "./llama/gemma_traits.ts";
import { llamaModel } from "./llama/llama_model.ts";
import type { RotarySpec } from "../pieces/rotary.ts";

/** The defaults are those of the class `Gemma3TextConfig` in transformers. */
const schema = z.object({
  ...gemmaShape,
  max_position_embeddings: positive.default(131_072),
  /** In configurations without `layer_types`, the last of every so many blocks has no sliding window. */
  sliding_window_pattern: positive.default(6),
  final_logit_softcapping: z.number().positive().nullish(),
  /**
   * The rotations of both types of blocks. Versions of transformers before 5 write `rope_theta` and
   * `rope_scaling` for the blocks without a window, and `rope_local_base_freq` for the others.
   */
  rope_parameters: z.object({ full_attention: ropeObject, sliding_attention: ropeObject }).partial()
    .nullish(),
  rope_local_base_freq: z.number().positive().nullish(),
});

type Config = z.infer<typeof schema>;

export const gemma3: Family = {
  modelType: "gemma3_text",
  read(object, has) {
    const config = readConfig(schema, object);
    const isSliding = readLayerTypes(config, (index) => (index + 1) % config.sliding_window_pattern !== 0);
    const full = fullRotary(config), sliding = slidingRotary(config);
    return llamaModel({ ...config, rope_parameters: null, hidden_act: config.hidden_activation }, has, {
      ...gemmaTraits(config, isSliding),
      queryKeyNorm: "heads",
      rotary: (index) => isSliding(index) ? sliding : full,
      logits: { softCap: config.final_logit_softcapping ?? undefined },
    });
  },
};

/** Returns the rotation of the blocks without a sliding window. */
function fullRotary({ rope_parameters, rope_theta, rope_scaling, ...config }: Config): RotarySpec {
  const settings = { ...rope_parameters?.full_attention, ...rope_scaling };
  return readRotary(
    { ...config, rope_parameters: settings, rope_theta: rope_theta ?? 1_000_000 },
    config.head_dim,
    false,
  );
}

/** Returns the rotation of the blocks with a sliding window. */
function slidingRotary({ rope_parameters, rope_scaling: _, ...config }: Config): RotarySpec {
  const settings = rope_parameters?.sliding_attention ?? {};
  const rope_theta = config.rope_local_base_freq ?? 10_000;
  const rotary = readRotary({ ...config, rope_parameters: settings, rope_theta }, config.head_dim, false);
  return { ...rotary, name: "sliding" };
}
