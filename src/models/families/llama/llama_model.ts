/**
 * The network of LLaMA and of the families derived from it: an RMSNorm before each half (attention and
 * feed-forward) of a block, rotary positions, grouped-query attention, and a gated feed-forward network.
 * `LlamaTraits` declares how a family differs from LLaMA. Names follow transformers' `LlamaForCausalLM`.
 */

import { z } from "zod";
import { ModelError } from "../../../files/model_error.ts";
import { attend } from "../../pieces/attention.ts";
import type { Activation } from "../../pieces/block_pass.ts";
import { applyGate } from "../../pieces/gate.ts";
import { accumulateGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { type RotarySpec, rotate } from "../../pieces/rotary.ts";
import { activationName, checkHeadDimension, headDimension, headName, positive } from "../config/config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import { linearSpec, type NormSpec } from "../../layer_specs.ts";
import { fusedLayers, type LlamaLayers, separateLayers } from "./llama_layers.ts";
import type { LlamaSizes, LlamaTraits } from "./llama_traits.ts";
import { readRotary, rotaryShape } from "../config/rotary_config.ts";

/** The settings that LLaMA and all families derived from it have. The schema of each family includes them. */
export const llamaShape = {
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  hidden_act: activationName.default("silu"),
  rms_norm_eps: z.number().positive().default(1e-6),
  vocab_size: positive,
  tie_word_embeddings: z.boolean().default(false),
  ...rotaryShape,
};

type LlamaConfig = z.infer<z.ZodObject<typeof llamaShape>>;

/**
 * Returns the model that `config` describes.
 * @param has returns whether the checkpoint has a tensor with the given name
 * @throws {ModelError} if sizes contradict each other, or if the rotary settings are not supported
 */
export function llamaModel(
  config: LlamaConfig,
  has: (name: string) => boolean,
  traits: LlamaTraits = {},
): ModelSpec {
  const sizes = readSizes(config);
  // A checkpoint that was saved without its head (the layer that computes logits) lacks the prefix `model.`.
  const root = has("embed_tokens.weight") ? "" : "model.";
  const embedding = `${root}embed_tokens`;
  const norm = (name: string, size: number): NormSpec => {
    return { kind: "rms", name, size, eps: config.rms_norm_eps, affine: true };
  };
  const parts: BlockParts = {
    sizes,
    layers: traits.fused ? fusedLayers(sizes) : separateLayers(sizes, traits.biases),
    attentionNorm: norm("input_layernorm", sizes.hidden),
    feedForwardNorm: norm("post_attention_layernorm", sizes.hidden),
    headNorms: traits.headNorms
      ? [norm("self_attn.q_norm", sizes.headDim), norm("self_attn.k_norm", sizes.headDim)]
      : undefined,
    rotary: readRotary(config, sizes.headDim, traits.partialRotation ?? false),
    window: traits.window ?? (() => 0),
    activation: config.hidden_act,
  };
  return {
    hiddenSize: sizes.hidden,
    blockCount: config.num_hidden_layers,
    vocabSize: config.vocab_size,
    maxTokens: config.max_position_embeddings,
    embedding: { tokens: `${embedding}.weight` },
    block: blockSpec(parts, root),
    finalNorm: norm(`${root}norm`, sizes.hidden),
    head: linearSpec(headName(config.tie_word_embeddings, embedding, has), sizes.hidden, config.vocab_size),
  };
}

function readSizes(config: LlamaConfig): LlamaSizes {
  const { hidden_size: hidden, intermediate_size: intermediate, num_attention_heads: heads } = config;
  const kvHeads = config.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) {
    throw new ModelError(
      `config.json: num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}`,
    );
  }
  const headDim = config.head_dim ? checkHeadDimension(config.head_dim) : headDimension(hidden, heads);
  return { hidden, intermediate, heads, kvHeads, headDim };
}

/** The parts of which a block consists. */
interface BlockParts {
  readonly sizes: LlamaSizes;
  readonly layers: LlamaLayers;
  readonly attentionNorm: NormSpec;
  readonly feedForwardNorm: NormSpec;
  readonly headNorms?: readonly [q: NormSpec, k: NormSpec];
  readonly rotary: RotarySpec;
  /** Returns the attention window of block `index`, as `LlamaTraits` declares it. */
  readonly window: (index: number) => number;
  readonly activation: Activation;
}

function blockSpec(parts: BlockParts, root: string): BlockSpec {
  const { sizes: { intermediate, heads, kvHeads, headDim }, layers, headNorms = [] } = parts;
  const [qNorm, kNorm] = headNorms;
  return {
    prefix: (block) => `${root}layers.${block}.`,
    norms: [parts.attentionNorm, parts.feedForwardNorm, ...headNorms],
    groups: [layers.qkv, layers.out, layers.gateUp, layers.down],
    forward(pass, x, index) {
      let { q, k, v } = layers.projectQkv(pass, normalize(pass, parts.attentionNorm, x));
      if (qNorm) q = { ...q, buffer: normalize(pass, qNorm, q.buffer, pass.rows * heads) };
      if (kNorm) k = { ...k, buffer: normalize(pass, kNorm, k.buffer, pass.rows * kvHeads) };
      rotate(pass, parts.rotary, q, heads, headDim);
      rotate(pass, parts.rotary, k, kvHeads, headDim);
      const attended = attend(pass, { q, k, v, heads, kvHeads, headDim, window: parts.window(index) });
      accumulateGroup(pass, layers.out, attended, x);
      const { gate, up } = layers.projectGateUp(pass, normalize(pass, parts.feedForwardNorm, x));
      accumulateGroup(pass, layers.down, applyGate(pass, gate, up, intermediate, parts.activation), x);
    },
  };
}
