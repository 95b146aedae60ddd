/**
 * Gemma 4 for text (Google DeepMind 2026): the dense models, E2B and E4B with inputs of each token in every block and with shared keys
 * and values, and the mixture of experts. Names and arithmetic follow transformers' `Gemma4ForCausalLM`.
 */

import { z } from "zod";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import type { NormSpec } from "../../layer_specs.ts";
import { addToStream } from "../../pieces/residual.ts";
import { type Architecture, gatedNames, HEAD_NORMS } from "../architecture.ts";
import {
  activationName,
  configError,
  layerTypesShape,
  positiveInt,
  readConfig,
  readLayerTypes,
} from "../config/config.ts";
import { readTwoRotations, twoRotationsShape } from "../config/rotary_config.ts";
import { GEMMA_LAYERS } from "./gemma.ts";
import { blocksOf, type ModelSpec, type SharedKeys } from "../family.ts";
import type { LlamaSizes } from "../llama/attention_layers.ts";
import { type FeedForward, feedForward } from "../llama/feed_forward.ts";
import { llamaModel, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import type { Family } from "../model_family.ts";

/** The settings of a block that override settings of the model. */
const headsShape = { head_dim: positiveInt.optional(), num_key_value_heads: positiveInt.optional() };

const schema = z.object({
  ...llamaShape,
  ...layerTypesShape,
  ...twoRotationsShape,
  vocab_size: positiveInt.default(262_144),
  num_attention_heads: positiveInt.default(8),
  num_key_value_heads: positiveInt.default(4),
  head_dim: positiveInt.default(256),
  max_position_embeddings: positiveInt.default(131_072),
  hidden_activation: activationName.default("gelu_tanh"),
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.boolean().default(false),
  sliding_window: positiveInt.default(512),
  final_logit_softcapping: z.number().positive().nullish(),
  /** With `vision`, only the tokens of images attend to later ones. */
  use_bidirectional_attention: z.literal("vision").nullish(),
  /** Whether the values of blocks without a window are their keys before the norm. */
  attention_k_eq_v: z.boolean().default(false),
  /** The dimensions of a head, and the number of key heads, of blocks without a window. */
  global_head_dim: positiveInt.default(512),
  num_global_key_value_heads: positiveInt.nullish(),
  /** Versions of transformers since 5.24 write these settings block by block. */
  per_layer_config: stopAtFault(z.record(z.string().regex(/^\d+$/), z.strictObject(headsShape))).nullish(),
  /** The number of inputs of each block that depend only on the ids of the tokens. */
  hidden_size_per_layer_input: z.int().nonnegative().nullable().default(256),
  vocab_size_per_layer_input: positiveInt.default(262_144),
  /** The number of blocks at the end that read the keys and values of earlier blocks. */
  num_kv_shared_layers: z.int().nonnegative().default(0),
  /** Whether the feed-forward networks of these blocks are twice as large. */
  use_double_wide_mlp: z.boolean().default(false),
  enable_moe_block: z.boolean().default(false),
  num_experts: positiveInt.nullish(),
  top_k_experts: positiveInt.nullish(),
  moe_intermediate_size: positiveInt.nullish(),
});

type Config = z.infer<typeof schema>;

/** The rotation in configurations without `rope_parameters`. */
const DEFAULT_ROTATIONS = { full_attention: { rope_type: "proportional", partial_rotary_factor: 0.25 } };

const gguf: Architecture = {
  name: "gemma4",
  layers: {
    ...GEMMA_LAYERS,
    ...HEAD_NORMS,
    ...gatedNames("experts", "_exps"),
    "router": "ffn_gate_inp",
    "router.proj": "ffn_gate_inp",
    "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
    "post_feedforward_layernorm_1": "post_ffw_norm_1",
    "post_feedforward_layernorm_2": "post_ffw_norm_2",
    ...{ "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj" },
    "post_per_layer_input_norm": "post_norm",
  },
  vectors: {
    "layer_scalar": "layer_output_scale.weight",
    "router.per_expert_scale": "ffn_down_exps.scale",
  },
  activation: "gelu_tanh",
  listsWindows: true,
  windowTheta: "described",
  hasRotaryDivisors: "always",
  numbers: (spec) => ({
    embedding_length_per_layer_input: spec.tokenInputs?.size ?? 0,
    "attention.shared_kv_layers": spec.blockCount - firstReader(spec),
  }),
  unsupported: unsupportedInputs,
  factors: ({ logitSoftCap }, { hiddenSize }) => ({
    attentionScale: 1,
    embeddingScale: Math.sqrt(hiddenSize),
    logitSoftCap: logitSoftCap ?? 30,
  }),
  variant: ({ enable_moe_block: hasExperts }) => hasExperts ? { mixture: { isNormalized: true } } : {},
};

export const gemma4: Family = {
  modelType: "gemma4_text",
  experts: "some",
  gguf,
  textParts: {
    gemma4: {},
    gemma4_unified: {
      types: [undefined, "gemma4_unified_text"],
      defaults: { sliding_window: 1024, max_position_embeddings: 262_144 },
      fixed: { hidden_size_per_layer_input: 0, enable_moe_block: false },
    },
  },
  read(object, has) {
    const config = readConfig(schema, object), { attention_bias: bias, num_hidden_layers: blocks } = config;
    const { hidden_size_per_layer_input: tokenInputs, use_double_wide_mlp: isDoubled } = config;
    if (config.enable_moe_block && tokenInputs) {
      throw configError(
        `hidden_size_per_layer_input ${tokenInputs} is not supported with enable_moe_block, must be 0`,
      );
    }
    const hasWindow = readLayerTypes(config, (index) => (index + 1) % 6 !== 0);
    // The last block has no window, whatever `layer_types` says.
    const isSliding = (index: number) => index < blocks - 1 && hasWindow(index);
    const globalHeads = readGlobalHeads(config, isSliding);
    const { full, sliding } = readTwoRotations(
      { ...config, rope_parameters: config.rope_parameters ?? DEFAULT_ROTATIONS },
      config.head_dim,
      { full: 1_000_000, sliding: 10_000 },
      globalHeads.headDim,
    );
    const sizes = (index: number) => isSliding(index) ? {} : globalHeads;
    const { columns, sharedKeys } = readSharedKeys(config, isSliding, sizes);
    return llamaModel({ ...config, rope_parameters: null, hidden_act: config.hidden_activation }, has, {
      biases: { qkv: bias, out: bias },
      normPlacement: "around",
      queryKeyNorm: "heads",
      normalizesValues: true,
      hasOutputScale: true,
      scale: 1,
      embedding: { scale: Math.sqrt(config.hidden_size) },
      window: (index) => isSliding(index) ? config.sliding_window : 0,
      rotary: (index) => isSliding(index) ? sliding : full,
      sizesOf(index) {
        const shared = sharedKeys(index);
        const isDouble = isDoubled && shared?.isSource === false;
        return {
          ...sizes(index),
          ...shared ? { sharedKeys: shared } : {},
          ...isDouble ? { intermediate: 2 * config.intermediate_size } : {},
        };
      },
      sharedColumns: columns,
      tokenInputs: tokenInputs ? { size: tokenInputs, rows: config.vocab_size_per_layer_input } : undefined,
      logits: { softCap: config.final_logit_softcapping ?? undefined },
      ...config.enable_moe_block ? { experts: networkWithExperts(config) } : {},
    });
  },
};

/**
 * Returns the sizes of the blocks without a window.
 * @throws {ModelError} if `per_layer_config` has other settings than those of heads in all of these blocks
 */
function readGlobalHeads(config: Config, isSliding: (index: number) => boolean): Partial<LlamaSizes> {
  const { attention_k_eq_v: sharesValues, per_layer_config: ofBlocks, layer_types: types } = config;
  const entries = Object.entries(ofBlocks ?? {}), heads = entries.map(([, heads]) => JSON.stringify(heads));
  const count = types?.filter((_, index) => !isSliding(index)).length ?? entries.length;
  const isOfGlobalBlocks = entries.length === count && entries.every(([index]) => !isSliding(Number(index)));
  if (entries.length > 0 && !(isOfGlobalBlocks && new Set(heads).size === 1)) {
    throw configError(
      "per_layer_config is not supported, because it must have all blocks without a window and no others, and " +
        "the same heads for all of them",
    );
  }
  const { head_dim = config.head_dim, num_key_value_heads: kvHeads } = ofBlocks ? entries[0]?.[1] ?? {} : {
    head_dim: config.global_head_dim,
    num_key_value_heads: sharesValues ? config.num_global_key_value_heads ?? undefined : undefined,
  };
  return { headDim: head_dim, kvHeads: kvHeads ?? config.num_key_value_heads, sharesValues };
}

/**
 * Returns the number of columns of shared keys and values, and a function that gives the columns of a block. The last blocks read the keys and
 * values of the last earlier block of their kind, with or without a window.
 * @throws {ModelError} if there is no such block
 */
function readSharedKeys(
  { num_hidden_layers: blocks, num_kv_shared_layers: readers, ...config }: Config,
  isSliding: (index: number) => boolean,
  sizes: (index: number) => Partial<LlamaSizes>,
): { columns: number; sharedKeys: (index: number) => SharedKeys | undefined } {
  const first = blocks - readers, sources = new Map<boolean, { source: number; column: number }>();
  let columns = 0;
  for (let reader = first; reader < blocks && sources.size < 2; reader++) {
    const kind = isSliding(reader);
    if (sources.has(kind)) continue;
    let source = first - 1;
    while (source >= 0 && isSliding(source) !== kind) source--;
    if (source < 0) {
      throw configError(
        `num_kv_shared_layers ${readers} is not supported, because no block before block ${first} has the kind of ` +
          `attention of block ${reader}, whose keys and values it would read`,
      );
    }
    const { kvHeads = config.num_key_value_heads, headDim = config.head_dim } = sizes(source);
    sources.set(kind, { source, column: columns });
    columns += 2 * kvHeads * headDim;
  }
  return {
    columns,
    sharedKeys(index) {
      const { source, column = 0 } = sources.get(isSliding(index)) ?? {};
      return index === source || (source !== undefined && index >= first)
        ? { isSource: index === source, column }
        : undefined;
    },
  };
}

/**
 * Returns the feed-forward network of a block with experts. A network like LLaMA's and the experts run in parallel. Both have norms of
 * their own before and after them.
 * @throws {ModelError} if a setting of the experts is missing, or if a token would go to more experts than there are
 */
function networkWithExperts(config: Config): LlamaTraits["experts"] {
  const { num_experts: experts, top_k_experts: perToken, moe_intermediate_size: intermediate } = config;
  if (!experts || !perToken || !intermediate) {
    throw configError("enable_moe_block needs num_experts, top_k_experts and moe_intermediate_size");
  }
  const { hidden_size: hidden, rms_norm_eps: eps } = config;
  const norm = (name: string): NormSpec => ({ kind: "rms", name, size: hidden, eps, affine: true });
  const { experts: expertNetwork } = mixtureTraits({
    num_experts_per_tok: perToken,
    moe_intermediate_size: intermediate,
  }, {
    name: "",
    experts,
    router: "router.proj",
    routerScale: hidden ** -0.5,
    factors: "router.per_expert_scale",
    norms: {
      router: { ...norm("router"), weightName: "scale" },
      experts: norm("pre_feedforward_layernorm_2"),
    },
  }, "top_k_experts");
  const norms = [norm("post_feedforward_layernorm_1"), norm("post_feedforward_layernorm_2")] as const;
  return (sizes, activation) => (
    inParallel(feedForward(sizes, activation), expertNetwork!(sizes, activation), norms, hidden)
  );
}

/** Returns the sum of two networks, to whose outputs `norms` are applied. The inputs of the second one are the hidden states themselves. */
function inParallel(
  first: FeedForward,
  second: FeedForward,
  norms: readonly [first: NormSpec, second: NormSpec],
  hidden: number,
): FeedForward {
  return {
    ...second,
    groups: [...first.groups, ...second.groups],
    norms: [...second.norms ?? [], ...norms],
    async apply(pass, x, stream, options) {
      const sum = pass.workspace.buffer("sum of both networks", pass.rows * hidden);
      pass.backend.clear(sum);
      await first.apply(pass, x, sum, { norm: norms[0] });
      await second.apply(pass, stream, sum, { norm: norms[1] });
      addToStream(pass, sum, stream, hidden, options);
    },
  };
}

/** Returns the index of the first block that reads the keys and values of another, or the number of blocks. */
function firstReader(spec: ModelSpec): number {
  const first = blocksOf(spec).findIndex(({ traits }) => traits.sharedKeys?.isSource === false);
  return first < 0 ? spec.blockCount : first;
}

/**
 * Returns the setting because of which llama.cpp does not support the further inputs of the blocks, with its value, as in `Architecture`. In
 * llama.cpp, the last blocks read the keys and values of the two blocks before them. The first of these two blocks has a window.
 */
function unsupportedInputs(spec: ModelSpec): string | undefined {
  const { tokenInputs, vocabSize, blockCount } = spec, first = firstReader(spec);
  if (tokenInputs && tokenInputs.rows !== vocabSize) {
    return `vocab_size_per_layer_input ${tokenInputs.rows}, which differs from vocab_size ${vocabSize},`;
  }
  const isOther = blocksOf(spec).some(({ traits }, index) =>
    traits.sharedKeys?.isSource && index !== first - (traits.window?.(index) ? 2 : 1)
  );
  return first < blockCount && (first < 2 || isOther)
    ? `num_kv_shared_layers ${blockCount - first} with these layer_types`
    : undefined;
}
