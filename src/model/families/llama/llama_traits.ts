/** The properties in which families differ from LLaMA. */

import type { Activation } from "../../pieces/block_pass.ts";
import type { RotarySpec } from "../../pieces/rotary.ts";
import type { BlockTraits, EmbeddingSpec, ModelSpec } from "../family.ts";
import type { NormSpec } from "../../layer_specs.ts";
import type { FeedForward, NetworkOptions } from "./feed_forward.ts";
import type { AttentionLayers, LinearAttention, LlamaBiases, LlamaSizes } from "./attention_layers.ts";

/** If there is a `queryScale`, the whole head must rotate, or no part of it. */
export interface LlamaTraits
  extends
    Pick<BlockTraits, "window" | "queryScale" | "scale" | "softCap" | "residualScale">,
    Partial<Pick<ModelSpec, "headProjection" | "logits" | "furtherBlocks" | "sharedColumns">> {
  /** The prefix of all names except the name of the head. By default, it is one of `ROOTS` in `llama_model.ts`. */
  readonly root?: string;
  readonly biases?: LlamaBiases;
  /** Whether the tokens that `window` counts are a chunk, as in `AttentionInput`. Defaults to false. */
  readonly isChunked?: boolean;
  /**
   * Whether an RMSNorm is applied to queries and keys before the rotation, to each head or to all heads of a token. With `rotated`, it
   * has no weights, and is applied to each head after the rotation, and not in blocks without one. By default there is none.
   */
  readonly queryKeyNorm?: "heads" | "rows" | "rotated";
  /** Whether an RMSNorm without weights is applied to each head of the values. Only families with norms of heads can have it. Defaults to false. */
  readonly normalizesValues?: boolean;
  /** Where the norms of a block are. Defaults to `before`. */
  readonly normPlacement?: NormPlacement;
  /** Whether the norms of a block change the hidden states themselves. By default, they only compute the inputs or the outputs of a half. */
  readonly normalizesStream?: boolean;
  /** The properties of all norms in which they differ from an RMSNorm with weights. */
  readonly norm?: Partial<Pick<NormSpec, "kind" | "affine" | "bias" | "weightOffset">>;
  /** Whether there is a norm after the last block. Defaults to true. */
  readonly hasFinalNorm?: boolean;
  /** The parts of names that differ from LLaMA's, by the names of LLaMA, without the prefix of the model or of a block. */
  readonly names?: Readonly<Record<string, string>>;
  /** Whether the rotated pairs of a head are neighbours, see `RotarySpec`. Defaults to false. */
  readonly isInterleaved?: boolean;
  /** Whether the rotation can be limited to a part of each head by `partial_rotary_factor`. Defaults to false. */
  readonly partialRotation?: boolean;
  /**
   * Returns the rotation of queries and keys in block `index`, or undefined if they do not rotate. By default, the settings of the
   * configuration hold for every block.
   */
  rotary?(index: number): RotarySpec | undefined;
  /** Returns whether queries and keys rotate in block `index`. By default they do in every block. `false` means that they never do. */
  readonly hasRotary?: false | ((index: number) => boolean);
  /** Returns a further number by which the attention scores of block `index` are divided. Defaults to 1. */
  attentionDivisor?(index: number): number;
  /** Whether each head has a sink, which takes a part of the softmax of attention. Defaults to false. */
  readonly hasSinks?: boolean;
  /** Whether attention has the slopes of ALiBi. Defaults to false. */
  readonly hasSlopes?: boolean;
  /** Whether the outputs of a block are multiplied by a number in the checkpoint. Defaults to false. */
  readonly hasOutputScale?: boolean;
  /** The parts of the embedding besides the table of tokens. */
  readonly embedding?: Partial<EmbeddingSpec>;
  /** Whether the head has a bias. Defaults to false. */
  readonly headBias?: boolean;
  /** The `size` and the `rows` of `TokenInputsSpec`. By default, blocks have no such inputs. */
  readonly tokenInputs?: { readonly size: number; readonly rows: number };
  /** Returns the only half that block `index` has. By default every block has both. */
  halfOf?(index: number): "attention" | "network" | undefined;
  /** The feed-forward network of blocks without experts. */
  readonly network?: NetworkOptions;
  /** Returns the network of blocks with experts. By default no block has experts. */
  experts?(sizes: LlamaSizes, activation: Activation): FeedForward;
  /** Returns whether block `index` has no experts, although other blocks have. By default all blocks have. */
  hasNoExperts?(index: number): boolean;
  /** Returns the sizes in which block `index` differs from the configuration. By default there are none. */
  sizesOf?(index: number): Partial<LlamaSizes>;
  /** The linear layers of attention. By default, each key has as many dimensions as a value, and they are layers of the hidden states. */
  attention?(sizes: LlamaSizes): AttentionLayers;
  /** Returns whether block `index` has `linearAttention` in the place of `attention`. By default no block has. */
  isLinear?(index: number): boolean;
  linearAttention?(sizes: LlamaSizes): LinearAttention;
}

/**
 * Where the norms of a block are. `around` means before and after each half. With `shared` and `parallel`, the halves run in parallel. One
 * norm comes before both halves, or each half has its own norm.
 */
export type NormPlacement = "before" | "after" | "around" | "shared" | "parallel";
