// The CPU twin of shaders/attention.wgsl: causal attention with an online softmax (Milakov & Gimelshein, arXiv
// 1805.02867). A work item is 64 query rows of one head. It visits the keys that these rows see in blocks of 64, and
// does three steps for each block:
//
//   1. It computes the scores q·kᵀ as a matrix product.
//   2. It turns the scores into the numerators p of the softmax.
//   3. It computes the matrix product of p and the values v, and adds the product to the rows' sums.
//
// shared/attention_block.ts implements the steps. Keys and values are packed into panels of 8 or 16 columns, so that
// both products use the same micro-kernel. If the backend has loaded a library for products (shared/library.ts), the
// library computes both products.

import { AttentionArgs } from "./args";
import { cap_scores, first_key, KEYS, MICRO_ROWS, multiply, pack_keys, pack_queries, pack_values, score_rows, start_softmax, update_softmax } from "./shared/attention_block";
import { micro_cols } from "./shared/micro_kernels";
import { narrow_run } from "./shared/float16";
import { ceil_divide, round_up } from "./shared/items";
import { scratch } from "./shared/instance";
import { multiply_block, uses_library } from "./shared/library";
import { scale_into } from "./shared/row_operations";

// The query rows of a work item. Rounded operands are multiplied twice as fast, so their items have twice the rows.
const QUERIES: u32 = 64;
const ROUNDED_QUERIES: u32 = 128;
// The keys of a block if a library multiplies. The scores of a block have 128 or 256 KiB.
const LIBRARY_KEYS: u32 = 512;

// @ts-ignore: decorator
@inline function query_rows(args: AttentionArgs): u32 {
  return args.q_rounded != 0 ? ROUNDED_QUERIES : QUERIES;
}

export function attention_items(args: AttentionArgs): u32 {
  return args.batch * args.heads * ceil_divide(args.tokens, query_rows(args));
}

export function attention(args: AttentionArgs, item: u32): void {
  const tokens = args.tokens, past = args.past, heads = args.heads, dim = args.head_dim, headStride = args.head_stride;
  const ldq = args.ldq, ldk = args.ldk, ldv = args.ldv, ldo = args.ldo, window = args.window, chunked = args.chunked, softCap = args.soft_cap;

  const rowsOfItem = query_rows(args);
  // The last query rows see the most keys, so they are computed first. All threads then finish at about the same time.
  const queryBlock = ceil_divide(tokens, rowsOfItem) - 1 - item / (args.batch * heads);
  const t0 = past + queryBlock * rowsOfItem;
  const head = item % heads;
  const batchIndex = (item / heads) % args.batch;
  const firstRow = batchIndex * (past + tokens); // of the keys and values
  const queryRow = batchIndex * tokens + queryBlock * rowsOfItem;
  const kvColumn = head * args.kv_heads / heads * headStride;
  const queries = min<u32>(rowsOfItem, past + tokens - t0);
  const panel = micro_cols(), paddedDim = round_up(dim, panel);
  const slope = load<f32>(args.slopes + (<usize>head << 2));

  const query = scratch(); // (rowsOfItem, dim), scaled
  const keys = query + (rowsOfItem * dim << 2); // (KEYS/panel, dim, panel)
  const values = keys + (KEYS * dim << 2); // (paddedDim/panel, KEYS, panel)
  const scores = values + (KEYS * paddedDim << 2); // (rowsOfItem, KEYS); later the numerators p of the softmax
  const sums = scores + (rowsOfItem * KEYS << 2); // (rowsOfItem, paddedDim): Σ p·v of the blocks so far
  const maxima = sums + (rowsOfItem * paddedDim << 2); // (rowsOfItem): the largest score so far
  const denominators = maxima + (rowsOfItem << 2); // (rowsOfItem): Σ p so far

  memory.fill(sums, 0, rowsOfItem * paddedDim << 2);
  start_softmax(maxima, denominators, rowsOfItem, args.has_sinks == 1 ? load<f32>(args.sinks + (<usize>head << 2)) : -Infinity);
  const q = args.q + (<usize>(args.q_offset + queryRow * ldq + head * headStride) << 2);
  const out = args.out + (<usize>(queryRow * ldo + head * dim) << 2);
  if (uses_library()) {
    const isRounded = args.q_rounded != 0, size: usize = isRounded ? 1 : 2;
    const queryElement = <usize>(args.q_offset + queryRow * ldq + head * headStride);
    const keyElement = <usize>(args.k_offset + firstRow * ldk + kvColumn), valueElement = <usize>(args.v_offset + firstRow * ldv + kvColumn);
    add_values_by_library(
      isRounded, (isRounded ? args.q_rounded : args.q) + (queryElement << size), ldq,
      (isRounded ? args.k_rounded : args.k) + (keyElement << size), ldk,
      (isRounded ? args.v_rounded : args.v) + (valueElement << size), ldv,
      t0, queries, dim, args.scale, window, chunked, softCap, slope, sums, paddedDim, maxima, denominators,
    );
    divide_rows(sums, paddedDim, denominators, queries, dim, out, ldo);
    return;
  }
  pack_queries(q, ldq, queries, dim, args.scale, query);

  const end = t0 + queries;
  for (let s0 = first_key(t0, window, chunked); s0 < end; s0 += KEYS) {
    const count = min<u32>(KEYS, end - s0);
    const k = args.k + (<usize>(args.k_offset + (firstRow + s0) * ldk + kvColumn) << 2);
    const v = args.v + (<usize>(args.v_offset + (firstRow + s0) * ldv + kvColumn) << 2);
    pack_keys(k, ldk, count, dim, panel, keys);
    pack_values(v, ldv, count, dim, panel, values);
    for (let r: u32 = 0; r < queries; r += MICRO_ROWS) {
      const visible = score_rows(
        query, dim, keys, count, scores, r, queries, t0, s0, window, chunked, softCap, slope, maxima, denominators, sums, paddedDim,
      );
      if (visible == 0) continue;
      for (let p: u32 = 0; p < paddedDim; p += panel) {
        multiply(scores + (r * KEYS << 2), KEYS, values + (p * KEYS << 2), visible, sums + (r * paddedDim + p << 2), paddedDim, true);
      }
    }
  }

  divide_rows(sums, paddedDim, denominators, queries, dim, out, ldo);
}

// out ← sums/denominator for each row.
function divide_rows(sums: usize, ldSums: u32, denominators: usize, rows: u32, dim: u32, out: usize, ldo: u32): void {
  for (let r: u32 = 0; r < rows; r++) {
    const inverse: f32 = 1 / load<f32>(denominators + (r << 2));
    scale_into(sums + (r * ldSums << 2), dim, inverse, out);
    out += <usize>ldo << 2;
  }
}

// Does the three steps for the query rows of an item with products of the library. The library reads keys and values
// where they are, so the blocks of keys are larger. `q` is the address of the first row of the item. `k` and `v` are
// the addresses of the first token of the window. With `rounded`, q, k and v are bf16, and p is rounded to bf16 too.
function add_values_by_library(
  rounded: bool, q: usize, ldq: u32, k: usize, ldk: u32, v: usize, ldv: u32, t0: u32, queries: u32, dim: u32, scale: f32,
  window: u32, chunked: u32, softCap: f32, slope: f32, sums: usize, ldSums: u32, maxima: usize, denominators: usize,
): void {
  const size: usize = rounded ? 1 : 2;
  const scores = denominators + (queries << 2); // (queries, LIBRARY_KEYS); later the numerators p of the softmax
  const numerators = rounded ? scores + (queries * LIBRARY_KEYS << 2) : scores; // p as the library multiplies it
  for (let s0 = first_key(t0, window, chunked), end = t0 + queries; s0 < end; s0 += LIBRARY_KEYS) {
    const count = min<u32>(LIBRARY_KEYS, end - s0), width = round_up(count, 4);
    multiply_block(rounded, false, true, queries, count, dim, scale, q, ldq, k + (<usize>(s0 * ldk) << size), ldk, 0, scores, LIBRARY_KEYS);
    for (let i: u32 = 0; i < queries; i++) {
      const t = t0 + i, low = first_key(t, window, chunked), row = scores + (i * LIBRARY_KEYS << 2);
      const from = low > s0 ? low - s0 : 0, to = t < s0 ? 0 : min<u32>(count, t + 1 - s0);
      if (softCap > 0) cap_scores(row, to, softCap);
      update_softmax(row, to, from, to, slope, <f32>(<i32>s0 - <i32>t),
        maxima + (i << 2), denominators + (i << 2), sums + (i * ldSums << 2), ldSums);
      const visible = round_up(to, 4);
      memory.fill(row + (visible << 2), 0, width - visible << 2);
      if (rounded) narrow_run(row, numerators + (i * LIBRARY_KEYS << 1), width, false);
    }
    const vBlock = v + (<usize>(s0 * ldv) << size);
    multiply_block(rounded, false, false, queries, dim, count, 1, numerators, LIBRARY_KEYS, vBlock, ldv, 1, sums, ldSums);
  }
}
