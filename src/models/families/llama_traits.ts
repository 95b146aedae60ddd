/** How the relatives of LLaMA differ from each other, and the sizes that a block of any of them is made of. */

/** What sets a relative apart. */
export interface Traits {
  /** Which linear layers have biases; none by default. */
  readonly biases?: { readonly qkv?: boolean; readonly out?: boolean; readonly feedForward?: boolean };
  /** Tokens that a query of block `index` sees, itself included, 0 for all before it. All by default. */
  window?(index: number): number;
  /** An RMSNorm over each head of the queries, and of the keys, before they are turned. */
  readonly headNorms?: boolean;
  /** q, k and v in one layer, gate and up in another. */
  readonly fused?: boolean;
}

/** The sizes that a block is made of. */
export interface LlamaSizes {
  readonly hidden: number;
  readonly wide: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}
