/**
 * LLaMA 4 for text (Meta 2025). Most blocks rotate neighbouring dimensions of queries and keys, normalise them, and attend within chunks of
 * tokens. The others do neither, and enlarge the queries of late tokens. Some blocks have a mixture of experts, whose router multiplies the
 * inputs of the experts. Names and defaults follow transformers' `Llama4ForCausalLM`.
 */

import { z } from "zod";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import { ATTENTION, GATE_AND_UP, gatedNames, NORMS_BEFORE, rotatesThreeOfFour } from "../architecture.ts";
import { epsilon, noRopeShape, positiveInt, readLayerTypes, readRotatingBlocks } from "../config/config.ts";
import { firstTrait, type ModelSpec } from "../family.ts";
import { GATED_LAYERS } from "../llama/feed_forward.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";

const schema = z.object({
  ...llamaShape,
  num_key_value_heads: positiveInt.nullable().default(8),
  head_dim: positiveInt.nullable().default(128),
  rms_norm_eps: epsilon.default(1e-5),
  attention_bias: z.boolean().default(false),
  /** The inputs of the last layer in the blocks without experts. `intermediate_size` is the number for each expert. */
  intermediate_size_mlp: positiveInt.default(16_384),
  num_local_experts: positiveInt.default(16),
  num_experts_per_tok: positiveInt.default(1),
  /** The indices of the blocks with experts. By default, it is the last of every so many blocks. */
  moe_layers: stopAtFault(z.array(z.int())).nullish(),
  interleave_moe_layer_step: positiveInt.default(1),
  use_qk_norm: z.boolean().default(true),
  ...noRopeShape,
  // transformers treats an empty list as a missing one.
  no_rope_layers: noRopeShape.no_rope_layers.transform((flags) => flags?.length ? flags : undefined),
  attention_chunk_size: positiveInt.nullable().default(8192),
  layer_types: stopAtFault(z.array(z.enum(["full_attention", "chunked_attention"]))).nullish(),
  attn_temperature_tuning: z.boolean().default(true),
  floor_scale: z.number().positive().default(8192),
  attn_scale: z.number().default(0.1),
}).transform((config) => ({ ...config, rope_theta: config.rope_theta ?? 500_000 }));

export const llama4 = llamaFamily("llama4_text", schema, (config) => {
  const { attention_bias: bias, attention_chunk_size: chunk, intermediate_size_mlp } = config;
  const { floor_scale: floor, attn_scale: scale } = config;
  // The factor of queries of arXiv 2501.19399.
  const temperature = (position: number) => 1 + scale * Math.log1p(Math.floor((position + 1) / floor));
  const hasRotary = readRotatingBlocks(config);
  const isChunked = readLayerTypes(config, hasRotary, "chunked_attention");
  const { moe_layers: moeLayers, interleave_moe_layer_step: step } = config;
  return {
    biases: { qkv: bias, out: bias },
    queryKeyNorm: config.use_qk_norm ? "rotated" : undefined,
    isInterleaved: true,
    hasRotary,
    queryScale: (index) => config.attn_temperature_tuning && !hasRotary(index) ? temperature : undefined,
    window: (index) => isChunked(index) ? chunk ?? 0 : 0,
    isChunked: true,
    hasNoExperts: (index) => !(moeLayers?.includes(index) ?? (index + 1) % step === 0),
    network: { name: "feed_forward", intermediate: intermediate_size_mlp },
    ...mixtureTraits(config, {
      name: "feed_forward",
      experts: config.num_local_experts,
      scores: "sigmoid",
      isNormalized: false,
      router: "router",
      layers: { gate: "gate_up_proj", down: "down_proj" },
      isTransposed: true,
      scalesInputs: true,
      shared: {
        name: "feed_forward.shared_expert",
        intermediate: config.intermediate_size,
        layers: GATED_LAYERS,
      },
    }),
  };
}, {
  experts: "all",
  gguf: {
    name: "llama4",
    layers: {
      ...ATTENTION,
      ...NORMS_BEFORE,
      ...gatedNames("feed_forward", ""),
      ...gatedNames("feed_forward.experts", "_exps"),
      ...gatedNames("feed_forward.shared_expert", "_shexp"),
      "feed_forward.router": "ffn_gate_inp",
    },
    hasRotaryDivisors: true,
    windowPeriod: 4,
    rotates: rotatesThreeOfFour,
    splitLayers: { "feed_forward.experts.gate_up_proj": { places: GATE_AND_UP, rows: "halves" } },
    mixture: { isNormalized: false, denseBlocks: "periodic" },
    settings: {
      attention_chunk_size: 8192,
      attn_temperature_tuning: true,
      floor_scale: 8192,
      attn_scale: 0.1,
    },
    unsupported: unsupportedNorms,
  },
  textParts: { llama4: {} },
});

/** llama.cpp recognises the LLaMA 4 without norms of queries and keys by its number of experts. */
function unsupportedNorms(spec: ModelSpec): string | undefined {
  const hasNorms = spec.block(0).norms.some(({ name }) => name === "self_attn.q_norm");
  const experts = firstTrait(spec, "mixture")?.experts;
  return hasNorms === (experts !== 128) ? undefined : `use_qk_norm ${hasNorms} with ${experts} experts`;
}
