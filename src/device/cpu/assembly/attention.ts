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
import { micro_cols } from "./shared/micro_kernels";
import { prepare_exp } from "./shared/exp";
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
  const head = item % heads, batchIndex = (item / heads) % args.batch;
  const queries = min<u32>(QUERIES, tokens - firstQuery), t0 = past + firstQuery, queryRow = batchIndex * tokens + firstQuery;
  const kvRow = batchIndex * (past + tokens), kvColumn = head * args.kv_heads / heads * args.head_stride;
  const slope = load<f32>(args.slopes + (<usize>head << 2));

  const paddedDim = round_up(dim, micro_cols());
  const softmax = scratch(); // (QUERIES): the states of the softmax
  const sums = softmax + QUERIES * STATE_BYTES; // (QUERIES, paddedDim): Σ p·v of the blocks so far
  const free = sums + (QUERIES * paddedDim << 2);
  memory.fill(sums, 0, QUERIES * paddedDim << 2);
  prepare_exp();
  start_softmax(args, head, slope, softmax, queries);
  const q = <usize>args.q_offset + <usize>queryRow * args.ldq + head * args.head_stride;
  const k = <usize>args.k_offset + <usize>kvRow * args.ldk + kvColumn, v = <usize>args.v_offset + <usize>kvRow * args.ldv + kvColumn;
  if (uses_library()) add_values_by_library(args, q, k, v, slope, t0, queries, softmax, sums, paddedDim, free);
  else add_values(args, q, k, v, slope, t0, queries, softmax, sums, paddedDim, free);
  divide_rows(sums, paddedDim, softmax, queries, dim, args.out + (<usize>queryRow * args.ldo + head * dim << 2), args.ldo);
}

// out ← sums/denominator for each row.
function divide_rows(sums: usize, ldSums: u32, softmax: usize, rows: u32, dim: u32, out: usize, ldo: u32): void {
  for (let r: u32 = 0; r < rows; r++) {
    scale_into(sums, dim, 1 / denominator(softmax), out);
    sums += ldSums << 2, softmax += STATE_BYTES, out += <usize>ldo << 2;
  }
}

// Does the three steps for the query rows of an item without a library. `q` is the index of the first element of the item,
// `k` and `v` are the indices of the first elements of its window, t0 is the token of its first row, and `free` is memory.
function add_values(
  args: AttentionArgs, q: usize, k: usize, v: usize, slope: f32, t0: u32, queries: u32, softmax: usize, sums: usize, ldSums: u32, free: usize,
): void {
  const dim = args.head_dim, panel = micro_cols();
  const query = free; // (QUERIES, dim)
  const keys = query + (QUERIES * dim << 2); // (KEYS/panel, dim, panel)
  const values = keys + (KEYS * dim << 2); // (ldSums/panel, count, panel)
  const scores = values + (KEYS * ldSums << 2); // (QUERIES, KEYS): products q·k, and later the numerators p of the softmax
  pack_queries(args.q + (q << 2), args.ldq, queries, dim, 1, query);

  for (let s0 = first_key(t0, args.window, args.chunked), end = t0 + queries; s0 < end; s0 += KEYS) {
    const count = min<u32>(KEYS, end - s0);
    pack_panels_transposed(args.k + (k + <usize>s0 * args.ldk << 2), args.ldk, count, dim, panel, keys);
    pack_panels(args.v + (v + <usize>s0 * args.ldv << 2), args.ldv, dim, count, panel, values);
    for (let r: u32 = 0; r < queries; r += MICRO_ROWS) {
      const rows = min<u32>(MICRO_ROWS, queries - r), low = first_key(t0 + r, args.window, args.chunked);
      const from: u32 = low > s0 ? low - s0 & ~(panel - 1) : 0, to = min<i32>(count, t0 + r + rows - s0);
      if (<i32>from >= to) continue;
      const strip = scores + (r * KEYS + from << 2), rowSums = sums + (r * ldSums << 2);
      multiply_strip(query, dim, keys, r, from, to, scores);
      update_softmax(args, slope, false, t0 + r, rows, s0 + from, to - from, strip, strip, KEYS, softmax + r * STATE_BYTES, rowSums, ldSums);
      for (let p: u32 = 0; p < ldSums; p += panel) {
        multiply(strip, KEYS, values + (p * count + from * panel << 2), to - from, rowSums + (p << 2), ldSums, true);
      }
    }
  }
}

// Does the same with products of the library, which are rounded if q, k and v are. The numerators of the softmax are then
// rounded too.
function add_values_by_library(
  args: AttentionArgs, q: usize, k: usize, v: usize, slope: f32, t0: u32, queries: u32, softmax: usize, sums: usize, ldSums: u32, free: usize,
): void {
  const dim = args.head_dim, window = args.window, chunked = args.chunked, rounded = args.q_rounded != 0, size: usize = rounded ? 1 : 2;
  const query = (rounded ? args.q_rounded : args.q) + (q << size), ldq = args.ldq, ldk = args.ldk, ldv = args.ldv;
  const keys = (rounded ? args.k_rounded : args.k) + (k << size), values = (rounded ? args.v_rounded : args.v) + (v << size);
  const scores = free; // (QUERIES, KEYS): products q·k, and later the numerators p of the softmax
  const numerators = rounded ? scores + (QUERIES * KEYS << 2) : scores; // p as the library multiplies it

  const end = t0 + queries, lastLow = first_key(end - 1, window, chunked);
  for (let s0 = first_key(t0, window, chunked); s0 < end; s0 += KEYS) {
    const blockEnd = min<u32>(end, s0 + KEYS), isWhole = blockEnd <= t0 + 1 && lastLow <= s0;
    for (let r: u32 = 0, rows: u32 = 0; r < queries; r += rows) {
      rows = isWhole ? queries : min<u32>(LIBRARY_ROWS, queries - r);
      const s = max<u32>(s0, first_key(t0 + r, window, chunked)), seenEnd = min<u32>(blockEnd, t0 + r + rows);
      if (seenEnd <= s) continue;
      const count = seenEnd - s, state = softmax + r * STATE_BYTES, rowSums = sums + (r * ldSums << 2);
      const qStrip = query + (<usize>r * ldq << size), kStrip = keys + (<usize>s * ldk << size), vStrip = values + (<usize>s * ldv << size);
      // The scores are scaled later, because oneDNN multiplies bf16 by another factor in a slow loop on some processors.
      multiply_block(rounded, false, true, rows, count, dim, 1, qStrip, ldq, kStrip, ldk, 0, scores, KEYS);
      update_softmax(args, slope, rounded, t0 + r, rows, s, count, scores, numerators, KEYS, state, rowSums, ldSums);
      multiply_block(rounded, false, false, rows, dim, count, 1, numerators, KEYS, vStrip, ldv, 1, rowSums, ldSums);
    }
  }
}
