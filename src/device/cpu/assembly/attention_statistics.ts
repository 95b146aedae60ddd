// The CPU twin of shaders/attention_statistics.wgsl: the log-sum-exp of the scores of each query and head, and Σ
// d_out·out. A work item is 64 query rows of one head. It computes the scores of one block of keys after the other
// with the steps of shared/attention_block.ts, like attention.ts.

import { AttentionStatisticsArgs } from "./args";
import {
  denominator, first_key, KEYS, largest_score, MICRO_ROWS, multiply_strip, pack_queries, start_softmax, STATE_BYTES, update_softmax,
} from "./shared/attention_block";
import { micro_cols } from "./shared/micro_kernels";
import { log_f64 } from "./shared/exp";
import { pack_panels_transposed } from "./shared/gemm_pack";
import { ceil_divide } from "./shared/items";
import { scratch } from "./shared/instance";
import { dot } from "./shared/row_operations";

// The query rows of a work item.
const QUERIES: u32 = 64;

export function attention_statistics_items(args: AttentionStatisticsArgs): u32 {
  return args.batch * args.heads * ceil_divide(args.tokens, QUERIES);
}

export function attention_statistics(args: AttentionStatisticsArgs, item: u32): void {
  const tokens = args.tokens, heads = args.heads, dim = args.head_dim, ldo = args.ldo;
  // The last query rows see the most keys, so they are computed first. All threads then finish at about the same time.
  const t0 = (ceil_divide(tokens, QUERIES) - 1 - item / (args.batch * heads)) * QUERIES;
  const head = item % heads, firstRow = (item / heads) % args.batch * tokens;
  const queries = min<u32>(QUERIES, tokens - t0), slope = load<f32>(args.slopes + (<usize>head << 2));
  const softmax = scratch(); // (QUERIES): the states of the softmax
  start_softmax(args, head, slope, softmax, queries);
  add_scores(args, head, slope, firstRow, t0, queries, softmax, softmax + QUERIES * STATE_BYTES);

  const first = <usize>(firstRow + t0), rows = <usize>args.batch * tokens;
  const logSums = args.statistics + (head * rows + first << 2), products = logSums + (heads * rows << 2);
  const column = head * dim;
  for (let r: usize = 0; r < queries; r++) {
    const state = softmax + r * STATE_BYTES, logSum = <f64>largest_score(args, slope, state) + log_f64(denominator(state));
    const start = (first + r) * ldo + column << 2;
    store<f32>(logSums + (r << 2), <f32>logSum);
    store<f32>(products + (r << 2), dot(args.d_out + start, args.out + start, dim));
  }
}

// Updates the softmax of `queries` query rows from token t0 of a window on with all keys that they see. `firstRow` is the
// row of the first token of the window, and `free` is memory.
function add_scores(
  args: AttentionStatisticsArgs, head: u32, slope: f32, firstRow: u32, t0: u32, queries: u32, softmax: usize, free: usize,
): void {
  const dim = args.head_dim, panel = micro_cols(), window = args.window, chunked = args.chunked;
  const query = free; // (QUERIES, dim)
  const keys = query + (QUERIES * dim << 2); // (KEYS/panel, dim, panel)
  const scores = keys + (KEYS * dim << 2); // (QUERIES, KEYS)
  const q = args.q_offset + (firstRow + t0) * args.ldq + head * args.head_stride;
  pack_queries(args.q + (<usize>q << 2), args.ldq, queries, dim, 1, query);

  const kvColumn = head * args.kv_heads / args.heads * args.head_stride;
  for (let s0 = first_key(t0, window, chunked), end = t0 + queries; s0 < end; s0 += KEYS) {
    const count = min<u32>(KEYS, end - s0);
    const k = args.k_offset + (firstRow + s0) * args.ldk + kvColumn;
    pack_panels_transposed(args.k + (<usize>k << 2), args.ldk, count, dim, panel, keys);
    for (let r: u32 = 0; r < queries; r += MICRO_ROWS) {
      const rows = min<u32>(MICRO_ROWS, queries - r), to = min<i32>(count, t0 + r + rows - s0);
      if (to <= 0) continue;
      const strip = scores + (r * KEYS << 2);
      multiply_strip(query, dim, keys, r, 0, to, scores);
      // There are no sums of values to rescale.
      update_softmax(args, slope, false, t0 + r, rows, s0, to, strip, strip, KEYS, softmax + r * STATE_BYTES, 0, 0);
    }
  }
}
