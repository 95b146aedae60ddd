// Twin of shaders/attention.wgsl: the same blocks and online softmax, with the two products q·kᵀ and p·v as matrix products. Keys
// and values are packed into panels, so that one micro-kernel serves both. An item is 64 query rows of one head.

import { f32At, pointer, u32At } from "./args";
import { prepare_exp } from "./exp";
import { KEYS, multiply, pack_keys, pack_queries, pack_values, panel_cols, round_up, ROWS, scale_into, soften } from "./attention_block";
import { scratch } from "./scratch";

// Query rows of an item.
const QUERIES: u32 = 64;

// The first key that query t sees.
// @ts-ignore: decorator
@inline function first_key(t: u32, window: u32): u32 {
  return window > 0 && t + 1 > window ? t + 1 - window : 0;
}

export function attention_items(args: usize): i32 {
  const batch = u32At(args, 5), tokens = u32At(args, 6), heads = u32At(args, 7);
  return <i32>(batch * heads * (round_up(tokens, QUERIES) / QUERIES));
}

export function attention(args: usize, item: i32): void {
  const tokens = u32At(args, 6), heads = u32At(args, 7), kvHeads = u32At(args, 8), dim = u32At(args, 9), headStride = u32At(args, 10);
  const ldq = u32At(args, 12), ldk = u32At(args, 14), ldv = u32At(args, 16), ldo = u32At(args, 17);
  const window = u32At(args, 19);

  prepare_exp();
  // The last query blocks see most keys: they go first, for the threads to end together.
  const blocks = round_up(tokens, QUERIES) / QUERIES;
  const t0 = (blocks - 1 - <u32>item / (u32At(args, 5) * heads)) * QUERIES;
  const head = <u32>item % heads;
  const firstRow = (<u32>item / heads) % u32At(args, 5) * tokens;
  const kvColumn = head * kvHeads / heads * headStride;
  const queries = min<u32>(QUERIES, tokens - t0);
  const paddedQueries = round_up(queries, ROWS), panel = panel_cols(), paddedDim = round_up(dim, panel);
  const slope = load<f32>(pointer(args, 3) + (<usize>head << 2));

  const query = scratch(); // (QUERIES, dim), scaled
  const keys = query + (QUERIES * dim << 2); // (KEYS/panel, dim, panel)
  const values = keys + (KEYS * dim << 2); // (paddedDim/panel, KEYS, panel)
  const scores = values + (KEYS * paddedDim << 2); // (QUERIES, KEYS); the softmax's numerators in place
  const sum = scores + (QUERIES * KEYS << 2); // (QUERIES, paddedDim): Σ p·v so far
  const largest = sum + (QUERIES * paddedDim << 2); // (QUERIES)
  const weight = largest + (QUERIES << 2); // (QUERIES): Σ p so far

  memory.fill(sum, 0, QUERIES * paddedDim << 2);
  for (let r: u32 = 0; r < QUERIES; r++) {
    store<f32>(largest + (r << 2), -Infinity);
    store<f32>(weight + (r << 2), 0);
  }
  const q = pointer(args, 0) + (<usize>(u32At(args, 11) + (firstRow + t0) * ldq + head * headStride) << 2);
  pack_queries(q, ldq, queries, dim, f32At(args, 18), query);

  const end = t0 + queries;
  for (let s0 = first_key(t0, window); s0 < end; s0 += KEYS) {
    const count = min<u32>(KEYS, end - s0);
    const k = pointer(args, 1) + (<usize>(u32At(args, 13) + (firstRow + s0) * ldk + kvColumn) << 2);
    const v = pointer(args, 2) + (<usize>(u32At(args, 15) + (firstRow + s0) * ldv + kvColumn) << 2);
    pack_keys(k, ldk, count, dim, panel, keys);
    pack_values(v, ldv, count, dim, panel, values);
    for (let r: u32 = 0; r < paddedQueries; r += ROWS) {
      // Keys of the block that the last of these rows sees.
      const lastQuery = t0 + min<u32>(queries, r + ROWS) - 1;
      if (lastQuery < s0) continue;
      const seen = min<u32>(count, lastQuery + 1 - s0);
      const rowScores = scores + (r * KEYS << 2), rowSum = sum + (r * paddedDim << 2);
      for (let p: u32 = 0; p < seen; p += panel) {
        multiply(query + (r * dim << 2), dim, keys + (p * dim << 2), dim, rowScores + (p << 2), KEYS, false);
      }
      for (let i = r; i < min<u32>(queries, r + ROWS); i++) {
        const t = t0 + i;
        const low = first_key(t, window);
        const from = low > s0 ? low - s0 : 0, to = t < s0 ? 0 : min<u32>(seen, t + 1 - s0);
        soften(scores + (i * KEYS << 2), seen, from, to, slope, <f32>(<i32>s0 - <i32>t),
          largest + (i << 2), weight + (i << 2), sum + (i * paddedDim << 2), paddedDim);
      }
      for (let p: u32 = 0; p < paddedDim; p += panel) {
        multiply(rowScores, KEYS, values + (p * KEYS << 2), seen, rowSum + (p << 2), paddedDim, true);
      }
    }
  }

  let out = pointer(args, 4) + (<usize>((firstRow + t0) * ldo + head * dim) << 2);
  for (let r: u32 = 0; r < queries; r++) {
    const inverse: f32 = 1 / load<f32>(weight + (r << 2));
    scale_into(sum + (r * paddedDim << 2), dim, inverse, out);
    out += <usize>ldo << 2;
  }
}
