// The CPU twin of shaders/attention.wgsl: causal attention with an online softmax. A work item is some query rows of one
// head. It visits the keys that these rows see in blocks. A block is split into strips of rows where some rows do not see
// all of its keys, and the item does three steps for each strip:
//
//   1. It computes the products q·kᵀ of the keys that the strip sees.
//   2. It turns the products into the numerators p of the softmax (shared/attention_block.ts).
//   3. It computes the matrix product of p and the values v, and adds the product to the rows' sums.
//
// Without a library, keys and values are packed into panels of 8 or 16 columns, so that both products use the same
// micro-kernel, and a strip has the rows of the micro-kernel. If the backend has loaded a library for products
// (shared/library.ts), the library computes both products, and reads keys and values where they are.

import { AttentionArgs } from "./args";
import {
  denominator, first_key, KEYS, MICRO_ROWS, multiply, multiply_strip, pack_queries, start_softmax, STATE_BYTES, update_softmax,
} from "./shared/attention_block";
import { round_output } from "./shared/float16";
import { micro_cols } from "./shared/micro_kernels";
import { pack_panels, pack_panels_transposed } from "./shared/gemm_pack";
import { ceil_divide, round_up } from "./shared/items";
import { scratch } from "./shared/instance";
import { multiply_block, uses_library } from "./shared/library";
import { scale_into } from "./shared/row_operations";

// The query rows of a work item.
const QUERIES: u32 = 128;
// The rows of a strip that a library multiplies in a block that not all rows see whole.
const LIBRARY_ROWS: u32 = 64;

export function attention_items(args: AttentionArgs): u32 {
  return args.batch * args.heads * ceil_divide(args.tokens, QUERIES);
}

export function attention(args: AttentionArgs, item: u32): void {
  const tokens = args.tokens, past = args.past, heads = args.heads, dim = args.head_dim;
  // The last query rows see the most keys, so they are computed first. All threads then finish at about the same time.
  const firstQuery = (ceil_divide(tokens, QUERIES) - 1 - item / (args.batch * heads)) * QUERIES;
  const head = item % heads, batchIndex = (item / heads) % args.batch, slope = load<f32>(args.slopes + (<usize>head << 2));
  const queries = min<u32>(QUERIES, tokens - firstQuery), queryRow = batchIndex * tokens + firstQuery;
  const kvRow = batchIndex * (past + tokens), kvColumn = head * args.kv_heads / heads * args.head_stride;

  const softmax = scratch(); // (QUERIES): the states of the softmax
  const sums = softmax + QUERIES * STATE_BYTES; // (QUERIES, ldSums): Σ p·v of the blocks so far
  const ldSums = round_up(dim, micro_cols());
  memory.fill(sums, 0, QUERIES * ldSums << 2);
  start_softmax(args, head, slope, softmax, queries);
  const q = <usize>args.q_offset + <usize>queryRow * args.ldq + head * args.head_stride;
  const k = <usize>args.k_offset + <usize>kvRow * args.ldk + kvColumn, v = <usize>args.v_offset + <usize>kvRow * args.ldv + kvColumn;
  add_values(args, q, k, v, slope, past + firstQuery, queries, softmax, sums, ldSums, sums + (QUERIES * ldSums << 2));
  divide_rows(args, sums, ldSums, softmax, queries, queryRow * args.ldo + head * dim);
}

// out ← sums/denominator for each row. `first` is the index of the first element of the first row of `out`.
function divide_rows(args: AttentionArgs, sums: usize, ldSums: u32, softmax: usize, rows: u32, first: u32): void {
  for (let r: u32 = 0; r < rows; r++) {
    scale_into(sums, args.head_dim, 1 / denominator(softmax), args.out + (<usize>first << 2));
    round_output(args.out, args.out_rounded, first, args.head_dim);
    sums += ldSums << 2, softmax += STATE_BYTES, first += args.ldo;
  }
}

// Does the three steps for the query rows of an item, the first of which is token t0. `q` is the index of the item's first element.
// `k` and `v` are the indices of the first elements of its window. `free` is memory. The library rounds p if q, k and v are
// rounded.
function add_values(
  args: AttentionArgs, q: usize, k: usize, v: usize, slope: f32, t0: u32, queries: u32, softmax: usize, sums: usize, ldSums: u32, free: usize,
): void {
  const dim = args.head_dim, window = args.window, chunked = args.chunked, panel = micro_cols(), byLibrary = uses_library();
  const rounded = args.q_rounded != 0, size: usize = rounded ? 1 : 2, ldq = args.ldq, ldk = args.ldk, ldv = args.ldv;
  q = (rounded ? args.q_rounded : args.q) + (q << size);
  k = (rounded ? args.k_rounded : args.k) + (k << size);
  v = (rounded ? args.v_rounded : args.v) + (v << size);
  const scores = free; // (QUERIES, KEYS): products q·k, and later p if it is not rounded
  const roundedNumerators = scores + (QUERIES * KEYS << 2); // (QUERIES, KEYS): p if it is rounded
  const query = roundedNumerators + (QUERIES * KEYS << 1); // (QUERIES, dim), packed
  const keys = query + (QUERIES * dim << 2); // (KEYS/panel, dim, panel), packed
  const values = keys + (KEYS * dim << 2); // (ldSums/panel, count, panel), packed
  if (!byLibrary) pack_queries(q, ldq, queries, dim, 1, query);

  const end = t0 + queries, lastLow = first_key(end - 1, window, chunked);
  for (let s0 = first_key(t0, window, chunked); s0 < end; s0 += KEYS) {
    const count = min<u32>(KEYS, end - s0), isWhole = s0 + count <= t0 + 1 && lastLow <= s0;
    const height = byLibrary ? isWhole ? queries : LIBRARY_ROWS : MICRO_ROWS;
    if (!byLibrary) {
      pack_panels_transposed(k + (<usize>s0 * ldk << 2), ldk, count, dim, panel, keys);
      pack_panels(v + (<usize>s0 * ldv << 2), ldv, dim, count, panel, values);
    }
    for (let r: u32 = 0; r < queries; r += height) {
      const rows = min<u32>(height, queries - r), t = t0 + r, low = first_key(t, window, chunked);
      const from: u32 = low > s0 ? low - s0 & ~(panel - 1) : 0, to = min<i32>(count, t + rows - s0);
      if (<i32>from >= to) continue;
      const seen = to - from, s = <usize>(s0 + from), rowSums = sums + (r * ldSums << 2), strip = r * KEYS + from;
      const products = scores + (strip << 2), numerators = rounded ? roundedNumerators + (strip << 1) : products;
      // The products are scaled later, because oneDNN multiplies bf16 by another factor in a slow loop on some processors.
      if (byLibrary) multiply_block(rounded, false, true, rows, seen, dim, 1, q + (<usize>r * ldq << size), ldq, k + (s * ldk << size), ldk, 0, products, KEYS);
      else multiply_strip(query, dim, keys, r, from, to, scores);
      update_softmax(args, slope, rounded, t, rows, s0 + from, seen, products, numerators, KEYS, softmax + r * STATE_BYTES, rowSums, ldSums);
      if (byLibrary) multiply_block(rounded, false, false, rows, dim, seen, 1, numerators, KEYS, v + (s * ldv << size), ldv, 1, rowSums, ldSums);
      else {
        for (let p: u32 = 0; p < ldSums; p += panel) {
          multiply(numerators, KEYS, values + (p * count + from * panel << 2), seen, rowSums + (p << 2), ldSums, true);
        }
      }
    }
  }
}
