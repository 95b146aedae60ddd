/**
 * Describes how llama.cpp runs a family: the name of its architecture, the names of its tensors, and what it computes besides them. The names
 * are defined by `gguf-py/gguf/tensor_mapping.py` and `conversion/` in github.com/ggml-org/llama.cpp, and the computation by `src/models/`.
 */

import type { Activation } from "../pieces/block_pass.ts";
import type { ModelSpec } from "./family.ts";

export interface Architecture {
  readonly name: string;
  /**
   * The names in GGUF of the layers and norms of a block, by their names in the checkpoint. A layer of experts has its
   * role (`LinearSpec.expertRole`) in place of a name.
   */
  readonly layers: Readonly<Record<string, string>>;
  /** The complete names in GGUF of the vectors of a block. */
  readonly vectors?: Readonly<Record<string, string>>;
  /** The layers that are two tensors in the file, by their roles. */
  readonly splitLayers?: Readonly<Record<string, SplitLayer>>;
  /** The names in GGUF of the linear layers that may have a bias. @default none */
  readonly biases?: readonly string[];
  /** @default "silu" */
  readonly activation?: Activation;
  /**
   * The order of the rows that llama.cpp expects. With `rotary`, the two rows of a rotated pair of queries or keys are
   * neighbours. With `heads`, one layer has the queries of all heads first, then all keys, then all values. With `tiled`,
   * the value heads of linear attention are sorted by their number among those that share a key head.
   */
  readonly rowOrder?: "rotary" | "heads" | "tiled";
  /** Whether a tensor may, or must, divide the frequencies of the rotation in blocks without a window. */
  readonly hasRotaryDivisors?: boolean | "always";
  /** Whether the head must share its weight with the table of tokens. */
  readonly sharesHead?: boolean;
  /** Whether the pairs of a head are divided among three positions of a token, which are equal in a text. */
  readonly hasRotarySections?: boolean;
  /** Whether a part of each head may rotate. */
  readonly hasPartialRotation?: boolean;
  /** Every block has a sliding window except those whose index + 1 is a multiple of this. If absent, none has one. */
  readonly windowPeriod?: number;
  /** Whether the file lists the blocks that have a sliding window. Blocks with and without a window may have different heads. */
  readonly listsWindows?: boolean;
  /**
   * The base of the frequencies, without scaling, in blocks with a window, if these have a rotation of their own. `common` is the base in
   * the other blocks, and `described` a base that the file has.
   */
  readonly windowTheta?: number | "common" | "described";
  /** Whether blocks without `traits.linear` are those whose index + 1 is a multiple of a number in the file. By default no block has it. */
  readonly hasLinearBlocks?: boolean;
  /** Whether blocks may have Mamba 2 in the place of attention, and only one of their halves. The file says which half a block has. */
  readonly hasMamba?: boolean;
  /** Whether blocks may have a short convolution in the place of attention. */
  readonly hasConvolutions?: boolean;
  /** The name in GGUF of the norm after the last block. @default "output_norm" */
  readonly finalNorm?: string;
  /** Whether llama.cpp also reads the epsilon of RMSNorms under the key of LayerNorms. */
  readonly hasBothEpsilons?: boolean;
  /** Whether the file says that queries and keys rotate in all blocks, or in none. */
  readonly hasOptionalRotation?: boolean;
  /**
   * Whether models are exported whose YaRN does not round its bounds to whole pairs, although llama.cpp rounds them. Defaults to false.
   */
  readonly allowsUnroundedYarn?: boolean;
  /** The mixture of experts, if the architecture has one. */
  readonly mixture?: MixtureForm;
  /** Whether queries can have a factor that depends on their position. */
  readonly scalesQueries?: boolean;
  /** Whether attention needs one key head per query head, and all heads together as wide as the hidden states. */
  readonly needsSquareAttention?: boolean;
  /** Returns whether queries and keys rotate in a block. By default they do in every block, if they do in any. */
  rotates?(index: number): boolean;
  /** Whether logits are multiplied by the factor in the file. By default they are divided by it. */
  readonly multipliesLogits?: boolean;
  /** Returns the factors that llama.cpp uses, if the file has `wanted`. By default it has no factors. */
  factors?(wanted: Factors, spec: ModelSpec): Partial<Factors>;
  /** Returns the differences of models with certain settings in config.json. */
  variant?(config: Readonly<Record<string, unknown>>): Partial<Architecture>;
  /** Returns the setting of config.json that llama.cpp does not support, with its value, or undefined if there is none. */
  unsupported?(spec: ModelSpec): string | undefined;
  /** Settings of config.json that must have these values, or be absent. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Returns further numbers that llama.cpp reads, by their keys without the name of the architecture. */
  numbers?(spec: ModelSpec): Readonly<Record<string, number>>;
  /** Settings of config.json that llama.cpp reads under the same names, each true by default. */
  readonly switches?: readonly string[];
}

/** A layer that is stored as two tensors. Its rows come from the first and the second tensor in turn, or first all from the first. */
export interface SplitLayer {
  readonly places: readonly [string, string];
  readonly rows: "alternate" | "halves";
}

/** The factors and limits by which the network of a model differs from that of LLaMA. */
export interface Factors {
  readonly attentionScale: number;
  readonly attentionSoftCap?: number;
  readonly residualScale: number;
  readonly embeddingScale: number;
  readonly logitScale: number;
  readonly logitSoftCap?: number;
}

/** The mixtures that an architecture of llama.cpp computes. */
export interface MixtureForm {
  /**
   * Whether the factors of a token are divided by their sum. `described` means that llama.cpp reads from the file how tokens choose
   * experts. Otherwise, it does not read it.
   */
  readonly isNormalized: boolean | "described";
  /**
   * Which blocks have no experts: the first ones, every block whose index + 1 is not a multiple of a number, or any blocks, which the file then lists
   * as in `Architecture.hasMamba`. By default none.
   */
  readonly denseBlocks?: "first" | "periodic" | "any";
  /** How the file gives the inputs of the last layer of the shared expert: as a number, or as a multiple of the number of another expert. */
  readonly sharedSize?: "length" | "multiple";
}

// The names in GGUF of layers and norms that several architectures have, by their names in the checkpoint.

export const ATTENTION = attentionNames("self_attn");
export const NORMS_BEFORE = { "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm" };
/** Norms before each half, of which the second one has the name of a norm after attention. */
export const RENAMED_NORMS = {
  "input_layernorm": "attn_norm",
  "post_attention_layernorm": "post_attention_norm",
};
export const HEAD_NORMS = { "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm" };
export const GATED = gatedNames("mlp", "");
export const FUSED_GATE = { "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down" };
export const EXPERTS = { "mlp.gate": "ffn_gate_inp", ...gatedNames("mlp.experts", "_exps") };

/** The layers and norms of a block of LLaMA. */
export const LLAMA_LAYERS = { ...ATTENTION, ...GATED, ...NORMS_BEFORE };

/** The tensors of the layers of experts that compute gate and up. */
export const GATE_AND_UP = ["ffn_gate_exps", "ffn_up_exps"] as const;

export const QKV_BIASES = ["attn_q", "attn_k", "attn_v"];
export const GPT_BIASES = ["attn_qkv", "attn_output", "ffn_up", "ffn_down"];

/** The layers of a block of BLOOM. */
export const BLOOM_LAYERS = {
  "self_attention.query_key_value": "attn_qkv",
  "self_attention.dense": "attn_output",
  "mlp.dense_h_to_4h": "ffn_up",
  "mlp.dense_4h_to_h": "ffn_down",
};

// The architectures that several families have.

export const LLAMA: Architecture = {
  name: "llama",
  layers: LLAMA_LAYERS,
  biases: [...QKV_BIASES, "attn_output", "ffn_gate", "ffn_up", "ffn_down"],
  rowOrder: "rotary",
  hasRotaryDivisors: true,
};

export const OLMO2: Architecture = {
  name: "olmo2",
  layers: {
    ...ATTENTION,
    ...GATED,
    ...HEAD_NORMS,
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
  },
};

/** Returns the names of separate layers of attention. @param attention its name in a block */
export function attentionNames(attention: string): Readonly<Record<string, string>> {
  return {
    [`${attention}.q_proj`]: "attn_q",
    [`${attention}.k_proj`]: "attn_k",
    [`${attention}.v_proj`]: "attn_v",
    [`${attention}.o_proj`]: "attn_output",
  };
}

/** The factors of Granite, which the file has. */
export const graniteFactors: Architecture["factors"] = (
  { attentionScale, embeddingScale, residualScale, logitScale },
) => ({ attentionScale, embeddingScale, residualScale, logitScale });

/** Returns the names of a gated network. @param kind the end of its names in GGUF, such as `_exps` for experts */
export function gatedNames(network: string, kind: "" | "_exps" | "_shexp"): Readonly<Record<string, string>> {
  return {
    [`${network}.gate_proj`]: `ffn_gate${kind}`,
    [`${network}.up_proj`]: `ffn_up${kind}`,
    [`${network}.down_proj`]: `ffn_down${kind}`,
  };
}

/** Whether a block rotates queries and keys, if each fourth block does not. */
export function rotatesThreeOfFour(index: number): boolean {
  return (index + 1) % 4 !== 0;
}

/** Returns the names of the layers and vectors of Mamba 2. @param mixer its name in a block */
export function mambaNames(mixer: string): Required<Pick<Architecture, "layers" | "vectors">> {
  return {
    layers: { [`${mixer}.in_proj`]: "ssm_in", [`${mixer}.out_proj`]: "ssm_out" },
    vectors: {
      [`${mixer}.A_log`]: "ssm_a",
      [`${mixer}.D`]: "ssm_d",
      [`${mixer}.dt_bias`]: "ssm_dt.bias",
      [`${mixer}.conv1d.weight`]: "ssm_conv1d.weight",
      [`${mixer}.conv1d.bias`]: "ssm_conv1d.bias",
      [`${mixer}.norm.weight`]: "ssm_norm.weight",
    },
  };
}
