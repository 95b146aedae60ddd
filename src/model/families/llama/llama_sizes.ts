/** The sizes and the biases of a LLaMA-like block. */

/** Which linear layers have biases. By default none has. */
export interface LlamaBiases {
  readonly qkv?: boolean;
  readonly out?: boolean;
  readonly feedForward?: boolean;
}

export interface LlamaSizes {
  readonly hidden: number;
  /** The number of inputs of the last layer of the feed-forward network. */
  readonly intermediate: number;
  readonly heads: number;
  /** The number of key heads, which is also the number of value heads. */
  readonly kvHeads: number;
  readonly headDim: number;
}
