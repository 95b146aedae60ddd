// The CPU twin of shaders/attention_statistics.wgsl: the log-sum-exp of the scores of each query and head, and Σ
// d_out·out. A work item is 64 query rows of one head. It computes the scores of one block of 64 keys after the other
// with the steps of shared/attention_block.ts, like attention.ts.

import { AttentionStatisticsArgs } from "./args";
import { first_key, KEYS, MICRO_ROWS, pack_keys, pack_queries, score_rows, start_softmax } from "./shared/attention_block";
import { micro_cols } from "./shared/micro_kernels";
import { log_f64 } from "./shared/exp";
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
  const queries = min<u32>(QUERIES, tokens - t0);
  // The largest score of each query so far, and Σ exp(score − largest).
  const maxima = scratch(), denominators = maxima + (QUERIES << 2);
  add_scores(args, head, firstRow, t0, queries, maxima, denominators, denominators + (QUERIES << 2));

  const first = <usize>(firstRow + t0), rows = <usize>args.batch * tokens;
  const logSums = args.statistics + (head * rows + first << 2), products = logSums + (heads * rows << 2);
  const column = head * dim;
  for (let r: usize = 0; r < queries; r++) {
    const logSum = <f64>load<f32>(maxima + (r << 2)) + log_f64(load<f32>(denominators + (r << 2)));
    const start = (first + r) * ldo + column << 2;
    store<f32>(logSums + (r << 2), <f32>logSum);
    store<f32>(products + (r << 2), dot(args.d_out + start, args.out + start, dim));
  }
}

// Computes the largest score and Σ exp(score − largest) for `queries` query rows from token t0 of a window on.
// `firstRow` is the row of the first token of the window, and `memory` is free.
function add_scores(
  args: AttentionStatisticsArgs, head: u32, firstRow: u32, t0: u32, queries: u32, maxima: usize, denominators: usize, memory: usize,
): void {
  const dim = args.head_dim, panel = micro_cols(), window = args.window, chunked = args.chunked, softCap = args.soft_cap;
  const slope = load<f32>(args.slopes + (<usize>head << 2));
  const query = memory; // (QUERIES, dim), scaled
  const keys = query + (QUERIES * dim << 2); // (KEYS/panel, dim, panel)
  const scores = keys + (KEYS * dim << 2); // (QUERIES, KEYS)
  start_softmax(maxima, denominators, QUERIES, args.has_sinks == 1 ? load<f32>(args.sinks + (<usize>head << 2)) : -Infinity);
  const q = args.q_offset + (firstRow + t0) * args.ldq + head * args.head_stride;
  pack_queries(args.q + (<usize>q << 2), args.ldq, queries, dim, args.scale, query);

  const kvColumn = head * args.kv_heads / args.heads * args.head_stride;
  const end = t0 + queries;
  for (let s0 = first_key(t0, window, chunked); s0 < end; s0 += KEYS) {
    const count = min<u32>(KEYS, end - s0);
    const k = args.k_offset + (firstRow + s0) * args.ldk + kvColumn;
    pack_keys(args.k + (<usize>k << 2), args.ldk, count, dim, panel, keys);
    for (let r: u32 = 0; r < queries; r += MICRO_ROWS) {
      // There are no sums of values to rescale.
      score_rows(query, dim, keys, count, scores, r, queries, t0, s0, window, chunked, softCap, slope, maxima, denominators, 0, 0);
    }
  }
}
