/**
 * The family Falcon (Almazrouei et al., arXiv 2311.16867). One linear layer computes queries, keys and values, and several
 * query heads can share a key head. Names and arithmetic follow transformers' `FalconForCausalLM`.
 */

import { z } from "zod";
import type { DeviceBuffer } from "../../../device/backend.ts";
import { attend } from "../../pieces/attention.ts";
import type { BlockPass } from "../../pieces/block_pass.ts";
import { copyColumns } from "../../pieces/columns.ts";
import { allColumns, type ColumnsView } from "../../pieces/columns_view.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { accumulateGroup } from "../../pieces/residual.ts";
import { rotate } from "../../pieces/rotary.ts";
import { BLOOM_LAYERS } from "../architecture.ts";
import {
  activationName,
  configError,
  epsilon,
  headDimension,
  headName,
  positiveInt,
  readConfig,
} from "../config/config.ts";
import { longestWindow, readRotary, rotaryShape } from "../config/rotary_config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import type { Family } from "../model_family.ts";
import { layerNormSpec, type LinearGroup, linearSpec } from "../../layer_specs.ts";

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
  /** Whether the blocks are those of the models with 11, 40 and 180 billion parameters, whose halves run in parallel. */
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

export const falcon: Family = {
  modelType: "falcon",
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
  read(object, has): ModelSpec {
    const config = readConfig(schema, object), { hidden_size: hidden } = config;
    if (config.alibi) throw configError("alibi is true, which is not supported");
    if (config.num_ln_in_parallel_attn === 2 && !config.new_decoder_architecture) {
      throw configError("num_ln_in_parallel_attn 2 is not supported without new_decoder_architecture");
    }
    const root = has("word_embeddings.weight") ? "" : "transformer.";
    const embedding = `${root}word_embeddings`, block = blockSpec(config, root);
    return {
      hiddenSize: hidden,
      blockCount: config.num_hidden_layers,
      vocabSize: config.vocab_size,
      maxTokens: longestWindow(config),
      embedding: { tokens: `${embedding}.weight` },
      block: () => block,
      finalNorm: layerNormSpec(`${root}ln_f`, hidden, config.layer_norm_epsilon),
      head: linearSpec(headName(config.tie_word_embeddings, embedding, has), hidden, config.vocab_size),
    };
  },
};

function blockSpec(config: Config, root: string): BlockSpec {
  const { hidden_size: hidden, num_attention_heads: heads, layer_norm_epsilon: eps, activation } = config;
  const bias = config.bias ?? false, isNew = config.new_decoder_architecture ?? false;
  const isParallel = isNew || config.parallel_attn;
  const hasTwoParallelNorms = isNew && config.num_ln_in_parallel_attn !== 1;
  const intermediate = config.ffn_hidden_size ?? 4 * hidden;
  const headDim = headDimension(hidden, heads), rotary = readRotary(config, headDim, false);
  const kvHeads = countKeyHeads(config), keyColumns = kvHeads * headDim;
  const [norm, feedForwardNorm] =
    (hasTwoParallelNorms ? ["ln_attn", "ln_mlp"] : ["input_layernorm", "post_attention_layernorm"])
      .map((name) => layerNormSpec(name, hidden, eps));
  const columns = hidden + 2 * keyColumns;
  const linear = (name: string, inputs: number, outputs: number) => (
    { ...linearSpec(name, inputs, outputs, bias), ownClass: "FalconLinear" }
  );
  const qkv: LinearGroup = [linear("self_attention.query_key_value", hidden, columns)];
  const out: LinearGroup = [linear("self_attention.dense", hidden, hidden)];
  const up: LinearGroup = [linear("mlp.dense_h_to_4h", hidden, intermediate)];
  const down: LinearGroup = [linear("mlp.dense_4h_to_h", intermediate, hidden)];
  return {
    prefix: (block) => `${root}h.${block}.`,
    norms: isParallel && !hasTwoParallelNorms ? [norm] : [norm, feedForwardNorm],
    groups: [qkv, out, up, down],
    furtherActivations: [hidden, keyColumns, keyColumns],
    traits: { heads, kvHeads, headDim, intermediate, activation, rotary: () => rotary },
    forward(pass, x) {
      const input = normalize(pass, norm, x);
      const parallelInput = hasTwoParallelNorms ? normalize(pass, feedForwardNorm, x) : input;
      const [fused] = applyGroup(pass, qkv, input);
      const [q, k, v] = splitHeads(pass, fused, heads, kvHeads, headDim);
      rotate(pass, rotary, q, heads, headDim);
      rotate(pass, rotary, k, kvHeads, headDim);
      accumulateGroup(pass, out, attend(pass, { q, k, v, heads, kvHeads, headDim }), x);
      const feedForwardInput = isParallel ? parallelInput : normalize(pass, feedForwardNorm, x);
      const [inner] = applyGroup(pass, up, feedForwardInput, activation);
      accumulateGroup(pass, down, inner, x);
    },
  };
}

/** @throws {ModelError} if the query heads cannot share the key heads equally */
function countKeyHeads(config: Config): number {
  const { num_attention_heads: heads, new_decoder_architecture: isNew, multi_query: hasOneKey } = config;
  const kvHeads = isNew ? config.num_kv_heads ?? heads : hasOneKey ? 1 : heads;
  if (heads % kvHeads === 0) return kvHeads;
  throw configError(`num_attention_heads ${heads} is not a multiple of num_kv_heads ${kvHeads}`);
}

/**
 * Queues copying the queries, keys and values to buffers of their own. Each row of `fused` has the shape
 * (kvHeads, heads/kvHeads + 2, headDim): for each key head, the query heads that share it, the key, and then the value.
 */
function splitHeads(
  pass: BlockPass,
  fused: DeviceBuffer,
  heads: number,
  kvHeads: number,
  headDim: number,
): ColumnsView[] {
  const queries = heads / kvHeads * headDim, ld = queries + 2 * headDim, rows = pass.rows * kvHeads;
  const parts = [
    { name: "queries", offset: 0, columns: queries },
    { name: "keys", offset: queries, columns: headDim },
    { name: "values", offset: queries + headDim, columns: headDim },
  ];
  return parts.map(({ name, offset, columns }) => {
    const buffer = pass.workspace.buffer(name, rows * columns);
    copyColumns(pass, rows, columns, { buffer: fused, offset, ld }, [allColumns(buffer, columns)]);
    return allColumns(buffer, kvHeads * columns);
  });
}
