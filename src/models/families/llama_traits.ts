/** The differences between the relatives of LLaMA, and the sizes of their blocks. */

/** The properties in which a relative differs from LLaMA. */
export interface Traits {
  /** The linear layers that have biases. By default none has. */
  readonly biases?: { readonly qkv?: boolean; readonly out?: boolean; readonly feedForward?: boolean };
  /** Returns the number of tokens that a query of block `index` sees, itself included. 0 means all earlier tokens, which is the default. */
  window?(index: number): number;
  /** Whether each head of queries and keys has an RMSNorm before the rotation. */
  readonly headNorms?: boolean;
  /** Whether q, k and v are one layer, and gate and up another. */
  readonly fused?: boolean;
}

/** The sizes of a block. `intermediate` is the width of the feed-forward. */
export interface LlamaSizes {
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}
