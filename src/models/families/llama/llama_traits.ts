/** The properties in which the families derived from LLaMA differ from it, and the sizes of their blocks. */

/** The differences between a family and LLaMA. */
export interface LlamaTraits {
  /** Which linear layers have biases. By default none has. */
  readonly biases?: { readonly qkv?: boolean; readonly out?: boolean; readonly feedForward?: boolean };
  /**
   * Returns the number of tokens to which a token attends in block `index`, itself included. 0 means all earlier tokens. By
   * default it is 0 for every block.
   */
  window?(index: number): number;
  /** Whether an RMSNorm is applied to each head of queries and keys before the rotation. Defaults to false. */
  readonly headNorms?: boolean;
  /** Whether the rotation can be limited to a part of each head by `partial_rotary_factor`. Defaults to false. */
  readonly partialRotation?: boolean;
  /**
   * Whether one layer computes q, k and v together, and a second layer computes gate and up together.
   * Defaults to false.
   */
  readonly fused?: boolean;
}

/** The sizes of a block. */
export interface LlamaSizes {
  readonly hidden: number;
  /** The number of inputs of the last layer of the feed-forward network. */
  readonly intermediate: number;
  /** The number of query heads. */
  readonly heads: number;
  /** The number of key heads, which is also the number of value heads. */
  readonly kvHeads: number;
  readonly headDim: number;
}
