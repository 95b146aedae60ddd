// The CPU twin of shaders/attention_backward.wgsl: the gradients of attention with respect to q, k or v. A work item is
// 64 rows of one head, which are queries, keys or values. It visits the tokens that these rows see, or that see these
// rows, in blocks of columns, and does three steps for each block:
//
//   1. It computes the products q·kᵀ and d_out·vᵀ.
//   2. It turns the products into the factors of the columns.
//   3. It multiplies the factors by the columns, and adds the product to the rows' sums.
//
// The products use the packing and the micro-kernel of shared/attention_block.ts. In this file, r is the token of a
// row, and c the token of a column.

import { AttentionKeysBackwardArgs, AttentionQueriesBackwardArgs, AttentionValuesBackwardArgs } from "./args";
import { first_key, KEYS, MICRO_ROWS, multiply, pack_queries } from "./shared/attention_block";
import { micro_cols } from "./shared/micro_kernels";
import { exp4, tanh4 } from "./shared/exp";
import { pack_panels, pack_panels_transposed } from "./shared/gemm_pack";
import { ceil_divide, round_up } from "./shared/items";
import { scratch } from "./shared/instance";
import { add_scaled } from "./shared/row_operations";

// The rows of a work item.
const ROWS: u32 = 64;

// The variable of a gradient, which is the operand with respect to which the gradient is computed.
const Q: u32 = 0;
const K: u32 = 1;
const V: u32 = 2;

export function attention_queries_backward_items(args: AttentionQueriesBackwardArgs): u32 {
  return args.batch * args.heads * ceil_divide(args.tokens, ROWS);
}

export function attention_queries_backward(args: AttentionQueriesBackwardArgs, item: u32): void {
  // The last queries see the most keys, so they are computed first. All threads then finish at about the same time.
  const head = item % args.heads, block = ceil_divide(args.tokens, ROWS) - 1 - item / (args.batch * args.heads);
  add_gradient(args, Q, block * ROWS, head, head + 1, item / args.heads % args.batch);
}

export function attention_keys_backward_items(args: AttentionKeysBackwardArgs): u32 {
  return args.batch * args.kv_heads * ceil_divide(args.tokens, ROWS);
}

export function attention_keys_backward(args: AttentionKeysBackwardArgs, item: u32): void {
  add_shared_gradient(args, K, item);
}

export function attention_values_backward_items(args: AttentionValuesBackwardArgs): u32 {
  return attention_keys_backward_items(args);
}

export function attention_values_backward(args: AttentionValuesBackwardArgs, item: u32): void {
  add_shared_gradient(args, V, item);
}

// Adds the gradient of keys or values, which several query heads share. The first keys are seen by the most queries.
function add_shared_gradient(args: AttentionQueriesBackwardArgs, variable: u32, item: u32): void {
  const kvHead = item % args.kv_heads, block = item / (args.batch * args.kv_heads);
  const firstHead = ceil_divide(kvHead * args.heads, args.kv_heads), endHead = ceil_divide((kvHead + 1) * args.heads, args.kv_heads);
  add_gradient(args, variable, block * ROWS, firstHead, endHead, item / args.kv_heads % args.batch);
}

// The indices of the first element of a head in row `row` of q, k, v and d_out.
@inline function query_index(args: AttentionQueriesBackwardArgs, row: u32, head: u32): usize {
  return args.q_offset + row * args.ldq + head * args.head_stride;
}
@inline function key_index(args: AttentionQueriesBackwardArgs, row: u32, head: u32): usize {
  return args.k_offset + row * args.ldk + head * args.kv_heads / args.heads * args.head_stride;
}
@inline function value_index(args: AttentionQueriesBackwardArgs, row: u32, head: u32): usize {
  return args.v_offset + row * args.ldv + head * args.kv_heads / args.heads * args.head_stride;
}
@inline function output_index(args: AttentionQueriesBackwardArgs, row: u32, head: u32): usize {
  return row * args.ldo + head * args.head_dim;
}

// Adds the gradient of the rows from token r0 of a window on, for the query heads firstHead … endHead − 1.
function add_gradient(args: AttentionQueriesBackwardArgs, variable: u32, r0: u32, firstHead: u32, endHead: u32, batchIndex: u32): void {
  const tokens = args.tokens, dim = args.head_dim, window = args.window, chunked = args.chunked, isQuery = variable == Q;
  const ldq = args.ldq, ldk = args.ldk, ldv = args.ldv, ldo = args.ldo;
  const panel = micro_cols(), paddedDim = round_up(dim, panel), firstRow = batchIndex * tokens, row = firstRow + r0;
  const rows = min<u32>(ROWS, tokens - r0), lastRow = r0 + rows - 1;

  const packedRows = scratch(); // (ROWS, dim): queries or keys, scaled
  const rowPartners = packedRows + (ROWS * dim << 2); // (ROWS, dim): d_out of the queries, or values of the keys
  const columns = rowPartners + (ROWS * dim << 2); // (KEYS/panel, dim, panel): keys or queries
  const columnPartners = columns + (KEYS * dim << 2); // (KEYS/panel, dim, panel): values, or d_out of the queries
  const added = columnPartners + (KEYS * dim << 2); // (paddedDim/panel, count, panel): the columns that are added up
  const factors = added + (KEYS * paddedDim << 2); // (ROWS, KEYS): products of queries and keys; later the factors
  const products = factors + (ROWS * KEYS << 2); // (ROWS, KEYS): d_out·v
  const statistics = products + (ROWS * KEYS << 2); // (2, KEYS): statistics of the queries among rows or columns
  const sums = statistics + (2 * KEYS << 2); // (ROWS, paddedDim)
  memory.fill(sums, 0, ROWS * paddedDim << 2);

  const rowData = isQuery ? args.q + (query_index(args, row, firstHead) << 2) : args.k + (key_index(args, row, firstHead) << 2);
  const partnerData = isQuery ? args.d_out + (output_index(args, row, firstHead) << 2) : args.v + (value_index(args, row, firstHead) << 2);
  pack_queries(rowData, isQuery ? ldq : ldk, rows, dim, args.scale, packedRows);
  if (variable != V) pack_queries(partnerData, isQuery ? ldo : ldv, rows, dim, 1, rowPartners);

  const c0 = isQuery ? first_key(r0, window, chunked) : r0;
  const end = isQuery ? lastRow + 1 : window == 0 ? tokens : min<u32>(tokens, lastRow + window);
  for (let head = firstHead; head < endHead; head++) {
    const slope = load<f32>(args.slopes + (<usize>head << 2));
    for (let c = c0; c < end; c += KEYS) {
      const count = min<u32>(KEYS, end - c), column = firstRow + c;
      const q = args.q + (query_index(args, column, head) << 2), k = args.k + (key_index(args, column, head) << 2);
      const v = args.v + (value_index(args, column, head) << 2), dOut = args.d_out + (output_index(args, column, head) << 2);
      pack_panels_transposed(isQuery ? k : q, isQuery ? ldk : ldq, count, dim, panel, columns);
      if (variable != V) pack_panels_transposed(isQuery ? v : dOut, isQuery ? ldv : ldo, count, dim, panel, columnPartners);
      if (isQuery) pack_panels(k, ldk, dim, count, panel, added);
      else pack_panels(variable == K ? q : dOut, variable == K ? ldq : ldo, dim, count, panel, added);
      pack_statistics(args, head, isQuery ? row : column, isQuery ? rows : count, statistics);

      for (let r: u32 = 0; r < rows; r += MICRO_ROWS) {
        const rowEnd = min<u32>(rows, r + MICRO_ROWS);
        const from = first_visible(variable, r0 + r, window, chunked, c, count) & ~(panel - 1);
        const to = end_visible(variable, r0 + rowEnd - 1, window, chunked, c, count);
        if (to <= from) continue;
        for (let p = from; p < to; p += panel) {
          const at = r * KEYS + p << 2;
          multiply(packedRows + (r * dim << 2), dim, columns + (p * dim << 2), dim, factors + at, KEYS, false);
          if (variable != V) multiply(rowPartners + (r * dim << 2), dim, columnPartners + (p * dim << 2), dim, products + at, KEYS, false);
        }
        for (let i = r; i < rowEnd; i++) {
          const low = first_visible(variable, r0 + i, window, chunked, c, count), high = end_visible(variable, r0 + i, window, chunked, c, count);
          // The distance s − t of key and query in the first column, and its change per column.
          const distance: i32 = isQuery ? <i32>c - <i32>(r0 + i) : <i32>(r0 + i) - <i32>c;
          finish_factors(
            variable, factors + (i * KEYS << 2), products + (i * KEYS << 2), from, to, low, high, slope, <f32>distance, isQuery ? 1 : -1,
            statistics + (isQuery ? i << 2 : 0), args.soft_cap,
          );
        }
        for (let p: u32 = 0; p < paddedDim; p += panel) {
          multiply(
            factors + (r * KEYS + from << 2), KEYS, added + (p * count + from * panel << 2), to - from,
            sums + (r * paddedDim + p << 2), paddedDim, true,
          );
        }
      }
    }
  }

  const target = isQuery ? query_index(args, row, firstHead) : variable == K ? key_index(args, row, firstHead) : value_index(args, row, firstHead);
  const ld = isQuery ? ldq : variable == K ? ldk : ldv, factor: f32 = variable == V ? 1 : args.scale;
  for (let r: u32 = 0; r < rows; r++) {
    add_scaled(args.gradient + (target + <usize>(r * ld) << 2), sums + (r * paddedDim << 2), factor, dim);
  }
}

// Among `count` columns from token c on, the index of the first column that token r sees, or that sees token r.
@inline function first_visible(variable: u32, r: u32, window: u32, chunked: u32, c: u32, count: u32): u32 {
  const first = variable == Q ? first_key(r, window, chunked) : r;
  return first > c ? min<u32>(count, first - c) : 0;
}

// The end of these columns.
@inline function end_visible(variable: u32, r: u32, window: u32, chunked: u32, c: u32, count: u32): u32 {
  if (variable != Q && window == 0) return count;
  const end = variable == Q ? r + 1 : (chunked == 1 ? r - r % window : r) + window;
  return end > c ? min<u32>(count, end - c) : 0;
}

// Copies the statistics of `count` queries of a head. `row` is the row of the first query. The copies have KEYS
// log-sum-exps, and then KEYS means Σ d_out·out.
function pack_statistics(args: AttentionQueriesBackwardArgs, head: u32, row: u32, count: u32, target: usize): void {
  const rows = <usize>args.batch * args.tokens, source = args.statistics + (head * rows + row << 2);
  memory.copy(target, source, count << 2);
  memory.copy(target + (KEYS << 2), source + (args.heads * rows << 2), count << 2);
}

// Turns the products of one row into the factors of the columns from … to − 1, and up to three more. For the gradient
// of the values, the factors are the softmax p. Otherwise they are the gradients of the scaled products scale·q·k.
// Columns that are not in low … high − 1 get zeros. `statistics` points to the log-sum-exp of the row if the row is a
// query, and otherwise to the log-sum-exps of the columns. The means are KEYS elements later.
function finish_factors(
  variable: u32, factors: usize, products: usize, from: u32, to: u32, low: u32, high: u32, slope: f32, distance: f32, step: f32,
  statistics: usize, softCap: f32,
): void {
  const means = statistics + (KEYS << 2);
  const rowLogSum = v128.load32_splat(statistics), rowMean = v128.load32_splat(means);
  let index = f32x4.add(f32x4.splat(<f32>from), f32x4(0, 1, 2, 3));
  for (let j = from; j < to; j += 4) {
    const inside = v128.and(f32x4.ge(index, f32x4.splat(<f32>low)), f32x4.lt(index, f32x4.splat(<f32>high)));
    let score = v128.load(factors + (j << 2)), slopeOfCap = f32x4.splat(1);
    if (softCap > 0) {
      const t = tanh4(f32x4.div(score, f32x4.splat(softCap)));
      score = f32x4.mul(f32x4.splat(softCap), t);
      slopeOfCap = f32x4.relaxed_nmadd(t, t, slopeOfCap);
    }
    score = f32x4.relaxed_madd(f32x4.splat(slope), f32x4.relaxed_madd(f32x4.splat(step), index, f32x4.splat(distance)), score);
    const logSum = variable == Q ? rowLogSum : v128.load(statistics + (j << 2));
    let factor = v128.and(exp4(f32x4.sub(score, logSum)), inside);
    if (variable != V) {
      const mean = variable == Q ? rowMean : v128.load(means + (j << 2));
      factor = f32x4.mul(f32x4.mul(factor, f32x4.sub(v128.load(products + (j << 2)), mean)), slopeOfCap);
    }
    v128.store(factors + (j << 2), factor);
    index = f32x4.add(index, f32x4.splat(4));
  }
}
