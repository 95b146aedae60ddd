/** The description of a model, which its family makes from config.json: the names and shapes of the tensors, and the pass of one block. */

import type { Activation, BlockPass } from "../pieces/block_pass.ts";
import type { LinearHeads } from "../pieces/linear_attention.ts";
import type { RoutingRule } from "../pieces/routing.ts";
import type { RotarySpec } from "../pieces/rotary.ts";
import type { DeviceBuffer } from "../../device/backend.ts";
import type { WeightsSpec } from "../device_weights.ts";
import type { LinearGroup, LinearSpec, NormSpec, VectorSpec } from "../layer_specs.ts";

/** A decoder-only language model: an embedding, transformer blocks, a norm, and the head that computes logits. */
export interface ModelSpec {
  readonly hiddenSize: number;
  readonly blockCount: number;
  readonly vocabSize: number;
  /** The largest number of tokens in a window. It is Infinity if the model has no position limit. */
  readonly maxTokens: number;
  readonly embedding: EmbeddingSpec;
  /** The further inputs of all blocks, which depend only on the ids of the tokens. */
  readonly tokenInputs?: TokenInputsSpec;
  /** The number of columns of keys and values that blocks share. They follow the hidden states of each token. Defaults to 0. */
  readonly sharedColumns?: number;
  /**
   * Returns the declaration of block `index`. Blocks with the same layers share one declaration, so a model has only a few of them, and
   * nothing is allocated for a block count that the checkpoint does not confirm.
   */
  block(index: number): BlockSpec;
  /** The norm after the last block. Its name is complete without a prefix. */
  readonly finalNorm?: NormSpec;
  /** The layer between the final norm and the head. It exists if the head expects inputs of another size than the hidden states. */
  readonly headProjection?: LinearSpec;
  /** The head. If the head shares its weight with the embedding, it has the name of the table of tokens without `.weight`. */
  readonly head: LinearSpec;
  readonly logits?: LogitsSpec;
  /** Whether the checkpoint has a multimodal model, of which this is the text part. */
  readonly isTextPart?: boolean;
  /**
   * The number of blocks in the checkpoint after the last one, for predicting several tokens at once. These blocks are neither run nor pruned, and
   * their tensors are copied. Defaults to 0.
   */
  readonly furtherBlocks?: number;
}

/** Changes of the outputs of the head, in this order. */
export interface LogitsSpec {
  readonly scale?: number;
  /** The limit c of the logits. An output x becomes c·tanh(x/c). */
  readonly softCap?: number;
}

/** The embedding. The hidden states of a token are the sum of a row of each table. */
export interface EmbeddingSpec {
  /** The name of the table of tokens, (vocabSize, hiddenSize), or (vocabSize, inFeatures of the projection). */
  readonly tokens: string;
  /** The factor of the rows of the table of tokens. Defaults to 1. */
  readonly scale?: number;
  /** Projects the rows of the table of tokens to the size of the hidden states, before positions are added. */
  readonly projection?: LinearSpec;
  /** The table of positions, (maxTokens + offset, hiddenSize). Token t of a window uses row t + offset. */
  readonly positions?: { readonly name: string; readonly offset: number };
  /** The norm of the sum. */
  readonly norm?: NormSpec;
}

/**
 * Inputs of blocks that depend only on the id of a token. With the hidden states h before the first block and the row e of the table, those
 * of block b are columns b·size … (b + 1)·size − 1 of (norm(h·Wᵀ/√hiddenSize) + √size·e)/√2, where the norm is applied to each block alone.
 */
export interface TokenInputsSpec {
  /** The number of inputs of a block. */
  readonly size: number;
  /** The name and the rows of the table, (rows, blockCount · size). */
  readonly table: string;
  readonly rows: number;
  /** W, (blockCount · size, hiddenSize). */
  readonly projection: LinearSpec;
  readonly norm: NormSpec;
}

/** The keys and values of a block that shares them with other blocks. */
export interface SharedKeys {
  /** Whether the block computes them. Otherwise an earlier block has computed them. */
  readonly isSource: boolean;
  /** The first of the shared columns that have the keys. The values follow the keys. */
  readonly column: number;
}

/** Returns the declarations of all blocks, in order. The checkpoint must have confirmed the number of blocks. */
export function blocksOf(spec: Pick<ModelSpec, "block" | "blockCount">): BlockSpec[] {
  return Array.from({ length: spec.blockCount }, (_, index) => spec.block(index));
}

/** Returns a trait of the first block that has it. */
export function firstTrait<K extends keyof BlockTraits>(
  spec: ModelSpec,
  name: K,
): BlockTraits[K] | undefined {
  return blocksOf(spec).map(({ traits }) => traits[name]).find((trait) => trait !== undefined);
}

/** Returns the number of weights of the linear layers that can be pruned. */
export function countWeights({ groups }: BlockSpec): number {
  return groups.flat().reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0);
}

/** Returns the tensors of block `index`: the tensors of `groups`, of the dense layers and of the norms. */
export function blockWeights(block: BlockSpec, index: number, groups = block.groups): WeightsSpec {
  return {
    prefix: block.prefix(index),
    linears: [...groups.flat(), ...block.denseLayers ?? []],
    norms: block.norms,
    vectors: block.vectors,
  };
}

/** The sizes and functions of a block. A program that runs the blocks must be given them. */
export interface BlockTraits {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** The inputs of the last layer of the feed-forward network. */
  readonly intermediate: number;
  readonly activation: Activation;
  /** Returns the number of tokens to which a token attends in block `index`, itself included. 0, the default, means all earlier tokens. */
  window?(index: number): number;
  /** Returns the rotation of queries and keys in block `index`, or undefined if they do not rotate. */
  rotary?(index: number): RotarySpec | undefined;
  /** Returns the factor of the queries of a token in block `index`, as a function of its position. By default there is no factor. */
  queryScale?(index: number): RotarySpec["tokenScale"];
  /** The factor of attention scores. Defaults to 1/√headDim. */
  readonly scale?: number;
  /** The limit of attention scores. */
  readonly softCap?: number;
  /** The factor of the outputs of each half of a block, before they are added to the hidden states. Defaults to 1. */
  readonly residualScale?: number;
  /** The shared keys and values, if the block computes or reads any. */
  readonly sharedKeys?: SharedKeys;
  /** The mixture of experts in the place of the feed-forward network, if the block has one. */
  readonly mixture?: MixtureTraits;
  /** The latents of attention, if the block has any. `headDim` is then the dimensions of a key. */
  readonly latent?: LatentTraits;
  /** The sizes of the gated delta rule in the place of attention, if the block has it. */
  readonly linear?: DeltaTraits;
  /** The sizes of Mamba 2 in the place of attention, if the block has it. */
  readonly mamba?: MambaTraits;
  /** The number of tokens that the short convolution in the place of attention reads, if the block has it (`llama/short_convolution.ts`). */
  readonly taps?: number;
}

/** The dimensions of multi-head latent attention (`llama/latent_attention.ts`). */
export interface LatentTraits {
  /** The dimensions of the latents of queries. Undefined if queries are computed from the hidden states. */
  readonly queryRank?: number;
  /** The dimensions of the latents of keys and values. */
  readonly rank: number;
  /** The dimensions of a query or key that do not rotate. The rotating dimensions follow them. */
  readonly fixed: number;
  readonly rotating: number;
  /** The dimensions of a value, at most `fixed` + `rotating`. */
  readonly value: number;
  /** The rotation of `rotating` dimensions. */
  readonly rotary: RotarySpec;
}

/** The sizes of the gated delta rule (`llama/gated_delta_net.ts`). */
export interface DeltaTraits extends LinearHeads {
  /** The number of tokens that the convolution reads. */
  readonly taps: number;
}

/** The sizes of Mamba 2 (`llama/mamba2.ts`). */
export interface MambaTraits {
  readonly heads: number;
  readonly headDim: number;
  /** heads/groups consecutive heads share the vectors B and C. The norm of the outputs normalises the heads of a group together. */
  readonly groups: number;
  /** The number of elements of B and of C. */
  readonly stateDim: number;
  /** The number of tokens that the convolution reads. */
  readonly taps: number;
  /** The activation after the convolution. */
  readonly activation: Activation;
  /** The smallest and the largest step Δ. */
  readonly stepLimits: readonly [min: number, max: number];
}

export interface MixtureTraits extends RoutingRule {
  /** The inputs of the last layer of each expert. */
  readonly intermediate: number;
  /** The shared expert, to which all tokens go, with the inputs of its last layer. */
  readonly shared?: { readonly intermediate: number };
}

/** The declaration of a transformer block, or of several that differ only in the prefix of their names and in the index that `forward` receives. */
export interface BlockSpec {
  /** Returns the prefix of the names in `norms` and `groups`, such as `model.decoder.layers.3.`. */
  prefix(block: number): string;
  readonly norms: readonly NormSpec[];
  /** All linear layers that can be pruned, in groups that share one input. A group comes after the groups on whose outputs it depends. */
  readonly groups: readonly LinearGroup[];
  /** The linear layers that stay dense, such as the router of a mixture of experts. */
  readonly denseLayers?: readonly LinearSpec[];
  /** The vectors in host memory, such as the corrections of a router, the sinks of attention and the weights of a convolution. They are not trained. */
  readonly vectors?: readonly VectorSpec[];
  /** The numbers of columns of the activations that are neither inputs nor outputs of its layers. */
  readonly furtherActivations?: readonly number[];
  readonly traits: BlockTraits;
  /**
   * Queues block `index` on the hidden states `x`, (pass.rows, hiddenSize) f32, in place. Each group must be applied exactly once, but a
   * group of an expert only if tokens are routed to the expert. The groups of the last stage (see `stagesOf`) must add their outputs to
   * `x`, and only a norm and a factor may follow, so that a pass can skip them. A mixture of experts returns a promise, because it reads the scores of
   * its router back.
   */
  forward(pass: BlockPass, x: DeviceBuffer, index: number): void | Promise<void>;
}
