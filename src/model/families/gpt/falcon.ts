/**
 * The family Falcon (Almazrouei et al., arXiv 2311.16867). One linear layer computes queries, keys and values, and several
 * query heads can share a key head. Names and arithmetic follow transformers' `FalconForCausalLM`.
 */

import { z } from "zod";
import { copyColumns } from "../../pieces/columns.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { BLOOM_LAYERS } from "../architecture.ts";
import { activationName, configError, epsilon, positiveInt } from "../config/config.ts";
import { rotaryShape } from "../config/rotary_config.ts";
import { type AttentionLayers, fusedQkv, type LlamaSizes } from "../llama/attention_layers.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import type { LinearOptions } from "../../layer_specs.ts";

const flag = z.boolean().nullish();

const schema = z.object({
  ...rotaryShape,
  max_position_embeddings: positiveInt.default(2048),
  hidden_size: positiveInt,
  num_hidden_layers: positiveInt,
  num_attention_heads: positiveInt,
  ffn_hidden_size: positiveInt.nullish(),
  vocab_size: positiveInt,
  activation: activationName.default("gelu"),
  layer_norm_epsilon: epsilon.default(1e-5),
  bias: flag,
  alibi: flag,
  /** Whether the blocks are built as in the models with 11, 40 and 180 billion parameters, whose halves run in parallel. */
  new_decoder_architecture: flag,
  /** The number of key heads of a new block. By default, each query head has a key head of its own. */
  num_kv_heads: positiveInt.nullish(),
  /** The number of LayerNorms before the parallel halves. A new block has two by default, and an older one always has one. */
  num_ln_in_parallel_attn: z.literal([1, 2]).nullish(),
  /** Whether all query heads of an older block share one key head. */
  multi_query: z.boolean().nullable().default(true),
  /** Whether the feed-forward network of an older block runs in parallel with attention. */
  parallel_attn: z.boolean().nullable().default(true),
  tie_word_embeddings: z.boolean().default(true),
});

type Config = z.infer<typeof schema>;

/** @throws {ModelError} if the query heads cannot share the key heads equally */
function countKeyHeads(config: Config): number {
  const { num_attention_heads: heads, new_decoder_architecture: isNew, multi_query: hasOneKey } = config;
  const kvHeads = isNew ? config.num_kv_heads ?? heads : hasOneKey ? 1 : heads;
  if (heads % kvHeads === 0) return kvHeads;
  throw configError(`num_attention_heads ${heads} is not a multiple of num_kv_heads ${kvHeads}`);
}

/**
 * Returns the layers of attention, which copy the queries, keys and values to buffers of their own. Each row of the outputs of the first
 * layer has the shape (kvHeads, heads/kvHeads + 2, headDim): for each key head, the query heads that share it, the key, and then the value.
 */
function falconAttention(sizes: LlamaSizes, options: LinearOptions): AttentionLayers {
  const { heads, kvHeads, headDim } = sizes, queries = heads / kvHeads * headDim, ld = queries + 2 * headDim;
  const layers = fusedQkv(sizes, ["self_attention.query_key_value", "self_attention.dense"], options);
  return {
    ...layers,
    activations: [heads * headDim, kvHeads * headDim, kvHeads * headDim],
    projectQkv(pass, x) {
      const [fused] = applyGroup(pass, layers.inputs[0], x), rows = pass.rows * kvHeads;
      const part = (name: string, offset: number, columns: number) => {
        const buffer = pass.workspace.buffer(name, rows * columns);
        copyColumns(pass, rows, columns, { buffer: fused, offset, ld }, [allColumns(buffer, columns)]);
        return allColumns(buffer, kvHeads * columns);
      };
      const q = part("queries", 0, queries), k = part("keys", queries, headDim);
      return { q, k, v: part("values", queries + headDim, headDim) };
    },
  };
}

export const falcon = llamaFamily(
  "falcon",
  schema.transform((config) => ({
    ...config,
    intermediate_size: config.ffn_hidden_size ?? 4 * config.hidden_size,
    num_key_value_heads: countKeyHeads(config),
    hidden_act: config.activation,
    rms_norm_eps: config.layer_norm_epsilon,
  })),
  (config, has) => {
    if (config.alibi) throw configError("alibi is true, which is not supported");
    if (config.num_ln_in_parallel_attn === 2 && !config.new_decoder_architecture) {
      throw configError("num_ln_in_parallel_attn 2 is not supported without new_decoder_architecture");
    }
    const isNew = config.new_decoder_architecture,
      hasTwoNorms = isNew && config.num_ln_in_parallel_attn !== 1;
    const layer = { bias: config.bias ?? false, ownClass: "FalconLinear" };
    return {
      root: has("word_embeddings.weight") ? "" : "transformer.",
      names: {
        ...{ layers: "h", embed_tokens: "word_embeddings", norm: "ln_f" },
        ...hasTwoNorms ? { input_layernorm: "ln_attn", post_attention_layernorm: "ln_mlp" } : {},
      },
      norm: { kind: "layer" },
      normPlacement: hasTwoNorms ? "parallel" : isNew || config.parallel_attn ? "shared" : "before",
      attention: (sizes) => falconAttention(sizes, layer),
      network: { layers: { up: "dense_h_to_4h", down: "dense_4h_to_h" }, ...layer },
    };
  },
  {
    gguf: {
      name: "falcon",
      layers: {
        ...BLOOM_LAYERS,
        "input_layernorm": "attn_norm",
        "ln_attn": "attn_norm_2",
        "ln_mlp": "attn_norm",
      },
      activation: "gelu_tanh",
      rowOrder: "heads",
      settings: { parallel_attn: true },
    },
    units: {
      neurons: { setting: "ffn_hidden_size", reader: "mlp.dense_4h_to_h", writers: ["mlp.dense_h_to_4h"] },
    },
  },
);
