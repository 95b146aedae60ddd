/**
 * The network of LLaMA and of all other families. `llama_block.ts` runs one block, and `LlamaTraits` declares how a family
 * differs from LLaMA. Names follow transformers' `LlamaForCausalLM`.
 */

import { z } from "zod";
import {
  activationName,
  checkHeadDimension,
  configError,
  epsilon,
  headDimension,
  headName,
  positiveInt,
  readConfig,
} from "../config/config.ts";
import { longestWindow, readRotary, rotaryShape } from "../config/rotary_config.ts";
import type { BlockSpec, ModelSpec } from "../family.ts";
import type { Family, FamilyUses } from "../model_family.ts";
import { linearSpec, type NormSpec } from "../../layer_specs.ts";
import { type LlamaSizes, separateQkv } from "./attention_layers.ts";
import { feedForward } from "./feed_forward.ts";
import { type BlockParts, llamaBlock, type NormsOfHalf } from "./llama_block.ts";
import type { LlamaTraits, NormPlacement } from "./llama_traits.ts";

/** The settings of LLaMA. The schemas of most families include them, and other schemas return settings with these names. */
export const llamaShape = {
  hidden_size: positiveInt,
  intermediate_size: positiveInt,
  num_hidden_layers: positiveInt,
  num_attention_heads: positiveInt,
  num_key_value_heads: positiveInt.nullish(),
  head_dim: positiveInt.nullish(),
  hidden_act: activationName.default("silu"),
  rms_norm_eps: epsilon.default(1e-6),
  vocab_size: positiveInt,
  tie_word_embeddings: z.boolean().default(false),
  ...rotaryShape,
};

type LlamaConfig = z.infer<z.ZodObject<typeof llamaShape>>;

/** The names of the norms of a half of a block. */
type NormNames = { readonly [Place in keyof NormsOfHalf]: string };

/** The names of the norms of both halves, for each placement. */
const NORM_NAMES: Readonly<Record<NormPlacement, { attention: NormNames; feedForward: NormNames }>> = {
  before: {
    attention: { before: "input_layernorm" },
    feedForward: { before: "post_attention_layernorm" },
  },
  after: {
    attention: { after: "post_attention_layernorm" },
    feedForward: { after: "post_feedforward_layernorm" },
  },
  around: {
    attention: { before: "input_layernorm", after: "post_attention_layernorm" },
    feedForward: { before: "pre_feedforward_layernorm", after: "post_feedforward_layernorm" },
  },
  shared: { attention: { before: "input_layernorm" }, feedForward: {} },
  parallel: {
    attention: { before: "input_layernorm" },
    feedForward: { before: "post_attention_layernorm" },
  },
};

/**
 * Declares a family.
 * @param schema the settings, which include the settings of {@link llamaShape}
 * @param traits returns how the family differs from LLaMA. `has` returns whether the checkpoint has a tensor. `traits`
 * throws a ModelError if a value of a setting is not supported
 */
export function llamaFamily<Config extends LlamaConfig>(
  modelType: string,
  schema: z.ZodType<Config>,
  traits: (config: Config, has: (name: string) => boolean) => LlamaTraits,
  uses: FamilyUses = {},
): Family {
  return {
    modelType,
    ...uses,
    read(object, has) {
      const config = readConfig(schema, object);
      return llamaModel(config, has, traits(config, has));
    },
  };
}

/**
 * The prefixes of all names except the name of the head. A checkpoint that was saved without its head (the layer that computes logits) has
 * none. The last two are the prefixes of the text part of multimodal models, in the form of newer and of older versions of transformers.
 */
const ROOTS = ["", "model.", "model.language_model.", "language_model.model."];

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
  const sizes = readSizes(config), { hidden } = sizes;
  const { names, headProjection, logits, furtherBlocks, sharedColumns } = traits;
  const root = traits.root ?? ROOTS.find((root) => has(`${root}embed_tokens.weight`)) ?? "model.";
  const blocks = `${root}${names?.layers ?? "layers"}.`, kinds = new Map<string, BlockSpec>();
  const embedding = root + (names?.embed_tokens ?? "embed_tokens");
  const block = (index: number) => {
    const { hasNoExperts, isLinear, halfOf, sizesOf } = traits;
    const kind = JSON.stringify([hasNoExperts, isLinear, halfOf, sizesOf].map((trait) => trait?.(index)));
    const created = kinds.get(kind) ?? llamaBlock(blockParts(config, sizes, traits, index), blocks);
    kinds.set(kind, created);
    return created;
  };
  // Throws if sizes or settings are not supported. The first and the last block of Gemma 4 have different sizes.
  for (const index of [0, config.num_hidden_layers - 1]) block(index);
  return {
    hiddenSize: hidden,
    blockCount: config.num_hidden_layers,
    vocabSize: config.vocab_size,
    maxTokens: longestWindow(config),
    embedding: { tokens: `${embedding}.weight`, ...traits.embedding },
    block,
    finalNorm: traits.hasFinalNorm === false ? undefined : normSpec(config, traits, "norm", hidden, root),
    headProjection,
    head: linearSpec(
      headName(config.tie_word_embeddings, embedding, has, names?.lm_head),
      headProjection?.outFeatures ?? hidden,
      config.vocab_size,
      traits.headBias,
    ),
    logits,
    furtherBlocks,
    sharedColumns,
    tokenInputs: tokenInputsSpec(config, traits, root),
  };
}

/** Returns the inputs of blocks that depend on the ids of the tokens, if the family has any. */
function tokenInputsSpec(
  config: LlamaConfig,
  traits: LlamaTraits,
  root: string,
): ModelSpec["tokenInputs"] {
  if (!traits.tokenInputs) return undefined;
  const { size, rows } = traits.tokenInputs, { hidden_size: hidden, num_hidden_layers: blocks } = config;
  return {
    size,
    rows,
    table: `${root}embed_tokens_per_layer.weight`,
    projection: linearSpec(`${root}per_layer_model_projection`, hidden, blocks * size),
    norm: normSpec(config, traits, "per_layer_projection_norm", size, root),
  };
}

/** Returns the parts of block `index`. @param common the sizes in the configuration */
function blockParts(
  config: LlamaConfig,
  common: LlamaSizes,
  traits: LlamaTraits,
  index: number,
): BlockParts {
  const own = traits.sizesOf?.(index), sizes = own ? checkSizes({ ...common, ...own }) : common;
  const isLinear = traits.isLinear?.(index), half = traits.halfOf?.(index);
  const experts = traits.hasNoExperts?.(index) ? undefined : traits.experts;
  const { hidden } = sizes, { hidden_act: activation } = config;
  const { normPlacement = "before" } = traits, names = NORM_NAMES[normPlacement];
  const normsOfHalf = ({ before, after }: NormNames): NormsOfHalf => ({
    before: before === undefined ? undefined : normSpec(config, traits, before, hidden),
    after: after === undefined ? undefined : normSpec(config, traits, after, hidden),
  });
  return {
    traits,
    sizes,
    activation,
    attention: half === "network"
      ? undefined
      : (isLinear ? traits.linearAttention : traits.attention)?.(sizes) ??
        separateQkv(sizes, traits.biases, traits.names),
    feedForward: half === "attention" ? undefined : experts?.(sizes, activation) ??
      feedForward(sizes, activation, traits.network),
    attentionNorms: half === "network" ? {} : normsOfHalf(names.attention),
    feedForwardNorms: half === "attention" ? {} : normsOfHalf(names.feedForward),
    isParallel: normPlacement === "shared" || normPlacement === "parallel",
    queryKeyNorms: isLinear ? undefined : queryKeyNorms(config, sizes, traits),
    rotary: rotaryOf(config, sizes, traits),
    sinks: traits.hasSinks ? { name: "self_attn.sinks", size: sizes.heads } : undefined,
    tokenLayers: traits.tokenInputs && {
      gate: [linearSpec("per_layer_input_gate", hidden, traits.tokenInputs.size)],
      projection: [linearSpec("per_layer_projection", traits.tokenInputs.size, hidden)],
      norm: normSpec(config, traits, "post_per_layer_input_norm", hidden),
    },
    outputScale: traits.hasOutputScale ? { name: "layer_scalar", size: 1 } : undefined,
  };
}

/** Returns a function that gives the rotation of each block, or undefined if no block has one. */
function rotaryOf(
  config: LlamaConfig,
  { headDim }: LlamaSizes,
  { rotary, hasRotary, partialRotation = false, isInterleaved }: LlamaTraits,
): BlockParts["rotary"] {
  if (hasRotary === false) return undefined;
  const common = rotary ? undefined : { ...readRotary(config, headDim, partialRotation), isInterleaved };
  return (index) => hasRotary?.(index) ?? true ? common ?? rotary?.(index) : undefined;
}

/** Returns the norms of queries, keys and values, if the family has any. */
function queryKeyNorms(
  config: LlamaConfig,
  { heads, kvHeads, headDim, sharedKeys }: LlamaSizes,
  traits: LlamaTraits,
): BlockParts["queryKeyNorms"] {
  const { queryKeyNorm, normalizesValues } = traits;
  if (!queryKeyNorm) return undefined;
  const norm = (name: string, headCount: number) => ({
    ...normSpec(config, traits, `self_attn.${name}`, queryKeyNorm === "rows" ? headCount * headDim : headDim),
    affine: queryKeyNorm !== "rotated",
  });
  if (sharedKeys?.isSource === false) return [norm("q_norm", heads)];
  const ofValues = normalizesValues ? { ...norm("v_norm", kvHeads), affine: false } : undefined;
  return [norm("q_norm", heads), norm("k_norm", kvHeads), ofValues];
}

function normSpec(
  { rms_norm_eps: eps }: LlamaConfig,
  { norm, names }: LlamaTraits,
  name: string,
  size: number,
  root = "",
): NormSpec {
  return { kind: "rms", eps, affine: true, ...norm, name: root + (names?.[name] ?? name), size };
}

function readSizes(config: LlamaConfig): LlamaSizes {
  const { hidden_size: hidden, intermediate_size: intermediate, num_attention_heads: heads } = config;
  const kvHeads = config.num_key_value_heads ?? heads,
    headDim = config.head_dim ?? headDimension(hidden, heads);
  return checkSizes({ hidden, intermediate, heads, kvHeads, headDim });
}

/**
 * @throws {ModelError} if the query heads cannot share the key heads equally, if the heads have too many dimensions, or if the
 * number of units of a feed-forward network, which some families compute from other settings, is not a positive integer
 */
function checkSizes(sizes: LlamaSizes): LlamaSizes {
  const { heads, kvHeads, headDim, intermediate } = sizes;
  if (!Number.isSafeInteger(intermediate) || intermediate < 1) {
    throw configError(`a feed-forward network cannot have ${intermediate} units`);
  }
  if (heads % kvHeads !== 0) {
    throw configError(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}`);
  }
  checkHeadDimension(headDim);
  return sizes;
}
