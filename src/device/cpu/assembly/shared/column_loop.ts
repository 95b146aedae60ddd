// The loop over the columns of a block in prune_block.ts and quantize_block.ts. It handles bundles of eight rows with
// one lane per row (prune_bundle.ts). U is the upper triangular factor of the inverse Hessian.
//
// The columns are computed in panels of a few columns. First, one matrix product applies the errors of all columns
// before the panel to the panel. Then the columns of the panel are swept one by one.
//
// The type parameter `A` is the class of the arguments of a kernel, which has the fields that are read here.

import { one_bit } from "./lanes";
import { BUNDLE_ROWS, COLUMN_BYTES, errors, load_bundle, pack_u, panel_of_u, pruned, reciprocal, row_offsets, row_scales, row_zeros, temporary, weights } from "./prune_bundle";
import { is_paired } from "./instance";
import { ceil_divide, round_up } from "./items";

// The rows of a work item, a multiple of BUNDLE_ROWS. Packing U takes less than a twentieth of the time of so many rows.
export const ROWS_PER_ITEM: u32 = 128;
// The number of columns of a panel, unless a kernel needs another number. The eight accumulators of `subtract_before`
// hold exactly this many columns.
export const PANEL: u32 = 4;

// Returns the number of work items of a dispatch.
export function row_bundle_items<A>(args: A): u32 {
  return ceil_divide(args.rows, ROWS_PER_ITEM);
}

// Returns the index of the row after the last row of an item.
@inline export function end_of_item<A>(args: A, item: u32): u32 {
  return min<u32>(args.rows, (item + 1) * ROWS_PER_ITEM);
}

// Packs the block of U that belongs to these columns in panels of `width` columns.
export function pack_block<A>(args: A, width: u32): void {
  pack_u(args.u + (<usize>args.u_offset << 2), <usize>args.ldu << 2, args.size, width);
}

// Loads the weights of `count` rows of the dispatch, from row `row` on.
export function load_weights<A>(args: A, row: u32, count: u32): void {
  const work = args.work + (<usize>((args.row0 + row) * args.ldwork) << 2);
  load_bundle(work, <usize>args.ldwork << 2, count, args.size, weights(0));
}

// Flags the entries of a bundle that must be pruned, which are the entries whose bit in `bits` is `value`. `bits`
// points to the first word of the bundle's first row.
export function load_forced(bits: usize, stride: usize, count: u32, first: u32, size: u32, value: u32): void {
  for (let r: u32 = 0; r < count; r++) {
    for (let j: u32 = 0; j < size; j++) {
      store<i32>(pruned(j) + (<usize>r << 2), -(<i32>(one_bit(bits + r * stride, first + j) == value)));
    }
  }
}

// Flags the `quota` entries of the group with the smallest scores as pruned. The group is `width` columns from `start`
// on. The rank of an entry is the number of entries before it in the order of the scores. It is found by comparing the
// entry with every other entry of the group.
export function choose_in_group(start: u32, width: u32, quota: u32): void {
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    for (let j = start; j < start + width; j++) {
      const score = f32x4.mul(v128.load(weights(j) + half), v128.load32_splat(reciprocal(j)));
      const key = i32x4.add(v128.and(score, i32x4.splat(0x7fffffff)), i32x4.splat(1));
      v128.store(temporary(j) + half, v128.andnot(key, v128.load(pruned(j) + half))); // forced entries have key 0
    }
    for (let j = start; j < start + width; j++) {
      const key = v128.load(temporary(j) + half);
      let rank = i32x4.splat(0);
      let other = start;
      for (; other < j; other++) rank = i32x4.sub(rank, i32x4.le_s(v128.load(temporary(other) + half), key));
      for (other++; other < start + width; other++) rank = i32x4.sub(rank, i32x4.lt_s(v128.load(temporary(other) + half), key));
      const chosen = i32x4.lt_s(rank, i32x4.splat(quota));
      v128.store(pruned(j) + half, v128.or(v128.load(pruned(j) + half), chosen));
    }
  }
}

// W[:, c] ← W[:, c] − Σ_{j < start} Err[:, j]·U[j, c] for the columns c of the panel at `start`. W has the weights and
// Err the errors of the bundle. Columns of zeros pad the packed U to a multiple of four. An engine that pairs instructions has
// registers for two panels. It applies the errors before an even panel to the odd panel after it at the same time, so the odd
// panel then lacks only the errors of the even panel. The terms are added in the same order either way.
export function subtract_before(size: u32, width: u32, start: u32): void {
  let first: u32 = 0;
  if (is_paired() && width == PANEL) {
    if (start & PANEL) first = start - PANEL;
    else if (start + PANEL < size) return subtract_from_two(size, start);
  }
  const rowBytes = <usize>round_up(width, 4) << 2;
  let panel = panel_of_u(size, width, start) + first * rowBytes;
  const end = min<u32>(start + width, size);
  for (let c = start; c < end; c += 4) {
    subtract_errors(false, weights(c), errors(first), errors(start), panel, 0, rowBytes);
    panel += 16;
  }
}

// Does the same for the errors of the columns before `start`, and for the panels at `start` and `start` + PANEL.
function subtract_from_two(size: u32, start: u32): void {
  const u = panel_of_u(size, PANEL, start), v = panel_of_u(size, PANEL, start + PANEL);
  subtract_errors(true, weights(start), errors(0), errors(start), u, v, 16);
}

// Subtracts the errors from `error` to `last` times four columns of U at `u` from the four columns of weights at `w`. With
// `two`, which is a constant wherever the function is inlined, it also handles the next four columns, with those of U at `v`.
@inline function subtract_errors(two: bool, w: usize, error: usize, last: usize, u: usize, v: usize, rowBytes: usize): void {
  let a0 = v128.load(w, 0), a1 = v128.load(w, 16);
  let b0 = v128.load(w, 32), b1 = v128.load(w, 48);
  let c0 = v128.load(w, 64), c1 = v128.load(w, 80);
  let d0 = v128.load(w, 96), d1 = v128.load(w, 112);
  let e0 = a0, e1 = a0, f0 = a0, f1 = a0, g0 = a0, g1 = a0, h0 = a0, h1 = a0, factor = a0;
  if (two) {
    e0 = v128.load(w, 128), e1 = v128.load(w, 144);
    f0 = v128.load(w, 160), f1 = v128.load(w, 176);
    g0 = v128.load(w, 192), g1 = v128.load(w, 208);
    h0 = v128.load(w, 224), h1 = v128.load(w, 240);
  }
  for (; error < last; error += COLUMN_BYTES) {
    const low = v128.load(error), high = v128.load(error, 16);
    factor = v128.load32_splat(u, 0), a0 = f32x4.relaxed_nmadd(low, factor, a0), a1 = f32x4.relaxed_nmadd(high, factor, a1);
    factor = v128.load32_splat(u, 4), b0 = f32x4.relaxed_nmadd(low, factor, b0), b1 = f32x4.relaxed_nmadd(high, factor, b1);
    factor = v128.load32_splat(u, 8), c0 = f32x4.relaxed_nmadd(low, factor, c0), c1 = f32x4.relaxed_nmadd(high, factor, c1);
    factor = v128.load32_splat(u, 12), d0 = f32x4.relaxed_nmadd(low, factor, d0), d1 = f32x4.relaxed_nmadd(high, factor, d1);
    if (two) {
      factor = v128.load32_splat(v, 0), e0 = f32x4.relaxed_nmadd(low, factor, e0), e1 = f32x4.relaxed_nmadd(high, factor, e1);
      factor = v128.load32_splat(v, 4), f0 = f32x4.relaxed_nmadd(low, factor, f0), f1 = f32x4.relaxed_nmadd(high, factor, f1);
      factor = v128.load32_splat(v, 8), g0 = f32x4.relaxed_nmadd(low, factor, g0), g1 = f32x4.relaxed_nmadd(high, factor, g1);
      factor = v128.load32_splat(v, 12), h0 = f32x4.relaxed_nmadd(low, factor, h0), h1 = f32x4.relaxed_nmadd(high, factor, h1);
    }
    u += rowBytes;
    v += rowBytes;
  }
  v128.store(w, a0, 0), v128.store(w, a1, 16);
  v128.store(w, b0, 32), v128.store(w, b1, 48);
  v128.store(w, c0, 64), v128.store(w, c1, 80);
  v128.store(w, d0, 96), v128.store(w, d1, 112);
  if (two) {
    v128.store(w, e0, 128), v128.store(w, e1, 144);
    v128.store(w, f0, 160), v128.store(w, f1, 176);
    v128.store(w, g0, 192), v128.store(w, g1, 208);
    v128.store(w, h0, 224), v128.store(w, h1, 240);
  }
}

// Computes the results of the columns first … last−1 of the panel at `start`, from left to right:
//   q = 0 if the entry is pruned, else w[j];  err = (w[j] − q)/U[j,j];
//   w[c] −= err·U[j,c] for the columns c > j of the panel.
// If `rounds` is true, a weight that is kept is rounded to the grid of its row. Callers pass a constant, so the
// compiler makes one function for each value of `rounds`.
@inline export function sweep_columns(
  size: u32, width: u32, start: u32, first: u32, last: u32, rounds: bool, max_code: f32,
): void {
  if (!rounds && width == PANEL) return prune_panel(size, start);
  const end = min<u32>(start + width, size);
  const rowBytes = <usize>round_up(width, 4) << 2;
  let u = panel_of_u(size, width, start) + <usize>first * rowBytes;
  for (let j = first; j < last; j++) {
    const scale = v128.load32_splat(reciprocal(j));
    const w0 = v128.load(weights(j)), w1 = v128.load(weights(j), 16);
    const flag0 = v128.load(pruned(j)), flag1 = v128.load(pruned(j), 16);
    let error0: v128, error1: v128;
    if (rounds) {
      const q0 = v128.andnot(round_to_grid(w0, 0, max_code), flag0), q1 = v128.andnot(round_to_grid(w1, 16, max_code), flag1);
      error0 = f32x4.mul(f32x4.sub(w0, q0), scale);
      error1 = f32x4.mul(f32x4.sub(w1, q1), scale);
      v128.store(weights(j), q0);
      v128.store(weights(j), q1, 16);
    } else {
      error0 = f32x4.mul(v128.and(w0, flag0), scale);
      error1 = f32x4.mul(v128.and(w1, flag1), scale);
      v128.store(weights(j), v128.andnot(w0, flag0));
      v128.store(weights(j), v128.andnot(w1, flag1), 16);
    }
    v128.store(errors(j), error0);
    v128.store(errors(j), error1, 16);
    for (let c = j + 1; c < end; c++) {
      const factor = v128.load32_splat(u + (<usize>(c - start) << 2));
      v128.store(weights(c), f32x4.relaxed_nmadd(error0, factor, v128.load(weights(c))));
      v128.store(weights(c), f32x4.relaxed_nmadd(error1, factor, v128.load(weights(c), 16)), 16);
    }
    u += rowBytes;
  }
}

// Does the same for a whole panel of PANEL columns without rounding. The weights stay in registers. If the last panel has
// fewer columns, the columns after it receive values that nothing reads.
function prune_panel(size: u32, start: u32): void {
  const u = panel_of_u(size, PANEL, start) + (<usize>start * PANEL << 2);
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    const w = weights(start) + half, flags = pruned(start) + half, error = errors(start) + half;
    const flagA = v128.load(flags), flagB = v128.load(flags, 32), flagC = v128.load(flags, 64), flagD = v128.load(flags, 96);
    let a = v128.load(w), b = v128.load(w, 32), c = v128.load(w, 64), d = v128.load(w, 96);
    const errorA = f32x4.mul(v128.and(a, flagA), v128.load32_splat(reciprocal(start)));
    b = f32x4.relaxed_nmadd(errorA, v128.load32_splat(u, 4), b);
    c = f32x4.relaxed_nmadd(errorA, v128.load32_splat(u, 8), c);
    d = f32x4.relaxed_nmadd(errorA, v128.load32_splat(u, 12), d);
    const errorB = f32x4.mul(v128.and(b, flagB), v128.load32_splat(reciprocal(start), 4));
    c = f32x4.relaxed_nmadd(errorB, v128.load32_splat(u, 24), c);
    d = f32x4.relaxed_nmadd(errorB, v128.load32_splat(u, 28), d);
    const errorC = f32x4.mul(v128.and(c, flagC), v128.load32_splat(reciprocal(start), 8));
    d = f32x4.relaxed_nmadd(errorC, v128.load32_splat(u, 44), d);
    const errorD = f32x4.mul(v128.and(d, flagD), v128.load32_splat(reciprocal(start), 12));
    v128.store(error, errorA);
    v128.store(error, errorB, 32);
    v128.store(error, errorC, 64);
    v128.store(error, errorD, 96);
    v128.store(w, v128.andnot(a, flagA));
    v128.store(w, v128.andnot(b, flagB), 32);
    v128.store(w, v128.andnot(c, flagC), 64);
    v128.store(w, v128.andnot(d, flagD), 96);
  }
}

// Returns the weights w of four rows, rounded to the grids of the rows. `half` is a byte offset: 0 for the first four
// rows of the bundle, and 16 for the other four.
@inline function round_to_grid(w: v128, half: usize, max_code: f32): v128 {
  const scale = v128.load(row_scales() + half), zero = f32x4.floor(v128.load(row_zeros() + half));
  const offset = v128.load(row_offsets() + half);
  const code = f32x4.add(f32x4.nearest(f32x4.div(f32x4.add(w, offset), scale)), zero);
  const clamped = f32x4.min(f32x4.max(code, f32x4.splat(0)), f32x4.splat(max_code));
  // A negative scale makes −0 of the weight 0, and adding 0 makes 0 of −0.
  return f32x4.add(f32x4.sub(f32x4.mul(f32x4.sub(clamped, zero), scale), offset), f32x4.splat(0));
}
