// Twin of shaders/prune_block.wgsl; the contract is in src/kernels/prune_block.ts. An item is some rows, taken by strips of 8 with a
// lane a row (prune_strip.ts). Left-looking by panels of columns: what the errors before a panel take from it is a product summed in
// registers; only inside a panel do columns go one by one.

import { pointer, u32At } from "./args";
import { ceil_divide } from "./items";
import { sum_lanes } from "./lanes";
import {
  COLUMN_BYTES, errors, load_strip, pack_u, padded, panel_of_u, pruned, reciprocal, spare, store_mask, store_strip, STRIP_ROWS, weights,
} from "./prune_strip";

// A multiple of STRIP_ROWS; enough that packing U is a twentieth of an item.
const ROWS_PER_ITEM: u32 = 96;
// Columns of an unstructured panel: what the eight accumulators of `subtract_before` hold.
const PANEL: u32 = 4;
// Where both kernels' parameters begin: after eight bindings in one, seven in the other.
const PARAMS: usize = 8;
const PARAMS_N_M: usize = 7;

export function prune_block_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, PARAMS), ROWS_PER_ITEM);
}

export function prune_block(args: usize, item: i32): void {
  const rows = u32At(args, PARAMS), size = u32At(args, PARAMS + 1), row0 = u32At(args, PARAMS + 2);
  const keys = pointer(args, 6), selection = pointer(args, 7);
  const end = min<u32>(rows, (<u32>item + 1) * ROWS_PER_ITEM);
  pack_block(args, PARAMS, PANEL);
  for (let r = <u32>item * ROWS_PER_ITEM; r < end; r += STRIP_ROWS) {
    const count = min<u32>(STRIP_ROWS, end - r);
    load_weights(args, PARAMS, r, count);
    load_strip(keys + (<usize>((row0 + r) * size) << 2), <usize>size << 2, count, size, pruned(0));
    choose_by_key(selection, row0 + r, count, size);
    for (let start: u32 = 0; start < size; start += PANEL) {
      subtract_before(size, PANEL, start);
      sweep_columns(size, PANEL, start);
    }
    store_rows(args, PARAMS, r, count);
  }
}

export function prune_block_n_m_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, PARAMS_N_M), ROWS_PER_ITEM);
}

export function prune_block_n_m(args: usize, item: i32): void {
  const rows = u32At(args, PARAMS_N_M), size = u32At(args, PARAMS_N_M + 1), row0 = u32At(args, PARAMS_N_M + 2);
  const first = u32At(args, PARAMS_N_M + 8), words = u32At(args, PARAMS_N_M + 9);
  const keep = u32At(args, PARAMS_N_M + 10), group = u32At(args, PARAMS_N_M + 11);
  const hasForced = u32At(args, PARAMS_N_M + 12) == 1;
  const panel = min<u32>(group, size);
  const end = min<u32>(rows, (<u32>item + 1) * ROWS_PER_ITEM);
  pack_block(args, PARAMS_N_M, panel);
  for (let r = <u32>item * ROWS_PER_ITEM; r < end; r += STRIP_ROWS) {
    const count = min<u32>(STRIP_ROWS, end - r);
    load_weights(args, PARAMS_N_M, r, count);
    memory.fill(pruned(0), 0, size * COLUMN_BYTES);
    if (hasForced) load_forced(pointer(args, 6) + (<usize>((row0 + r) * words) << 2), <usize>words << 2, count, first, size);
    for (let start: u32 = 0; start < size; start += group) {
      const width = min<u32>(group, size - start);
      subtract_before(size, panel, start);
      choose_in_group(start, width, width - ceil_divide(keep * width, group));
      sweep_columns(size, panel, start);
    }
    store_rows(args, PARAMS_N_M, r, count);
  }
}

function pack_block(args: usize, params: usize, width: u32): void {
  const u = pointer(args, 1) + (<usize>u32At(args, params + 4) << 2);
  pack_u(u, <usize>u32At(args, params + 5) << 2, u32At(args, params + 1), width);
}

function load_weights(args: usize, params: usize, row: u32, count: u32): void {
  const ldwork = u32At(args, params + 3);
  const work = pointer(args, 0) + (<usize>((u32At(args, params + 2) + row) * ldwork) << 2);
  load_strip(work, <usize>ldwork << 2, count, u32At(args, params + 1), weights(0));
}

// Flags of all columns at once, since the keys do not change. Ties go by column within a row, as many as the row has left.
function choose_by_key(selection: usize, row: u32, count: u32, size: u32): void {
  const threshold = i32x4.splat(load<u32>(selection));
  const left = selection + (<usize>(2 + row) << 2);
  memory.fill(spare(0), 0, COLUMN_BYTES);
  memory.copy(spare(0), left, <usize>count << 2);
  let low = v128.load(spare(0)), high = v128.load(spare(0), 16);
  const zero = i32x4.splat(0);
  for (let j: u32 = 0; j < size; j++) {
    const key = v128.load(pruned(j)), keyHigh = v128.load(pruned(j), 16);
    const tie = v128.and(i32x4.eq(key, threshold), i32x4.gt_s(low, zero));
    const tieHigh = v128.and(i32x4.eq(keyHigh, threshold), i32x4.gt_s(high, zero));
    low = i32x4.add(low, tie); // a flag is −1
    high = i32x4.add(high, tieHigh);
    v128.store(pruned(j), v128.or(i32x4.lt_u(key, threshold), tie));
    v128.store(pruned(j), v128.or(i32x4.lt_u(keyHigh, threshold), tieHigh), 16);
  }
  v128.store(spare(0), low);
  v128.store(spare(0), high, 16);
  memory.copy(left, spare(0), <usize>count << 2);
}

// Flags the forced entries; `forced` is the first of their words in the strip's first row.
function load_forced(forced: usize, stride: usize, count: u32, first: u32, size: u32): void {
  for (let r: u32 = 0; r < count; r++) {
    for (let j: u32 = 0; j < size; j++) {
      const column = first + j;
      const bit = (load<u32>(forced + r * stride + (<usize>(column >> 5) << 2)) >> (column & 31)) & 1;
      store<i32>(pruned(j) + (<usize>r << 2), -(<i32>bit));
    }
  }
}

// Adds to the flags those entries of the group that have fewer than `quota` others before them: a rank by comparing all pairs.
function choose_in_group(start: u32, width: u32, quota: u32): void {
  for (let half: usize = 0; half < COLUMN_BYTES; half += 16) {
    for (let j = start; j < start + width; j++) {
      const score = f32x4.mul(v128.load(weights(j) + half), v128.load32_splat(reciprocal(j)));
      const key = i32x4.add(v128.and(score, i32x4.splat(0x7fffffff)), i32x4.splat(1));
      v128.store(spare(j) + half, v128.andnot(key, v128.load(pruned(j) + half))); // forced: 0
    }
    for (let j = start; j < start + width; j++) {
      const key = v128.load(spare(j) + half);
      let rank = i32x4.splat(0);
      let other = start;
      for (; other < j; other++) rank = i32x4.sub(rank, i32x4.le_s(v128.load(spare(other) + half), key));
      for (other++; other < start + width; other++) rank = i32x4.sub(rank, i32x4.lt_s(v128.load(spare(other) + half), key));
      const chosen = i32x4.lt_s(rank, i32x4.splat(quota));
      v128.store(pruned(j) + half, v128.or(v128.load(pruned(j) + half), chosen));
    }
  }
}

// W[:, c] ← W[:, c] − Σ_{j < start} Err[:, j]·U[j, c] for the columns of a panel, four at a time. Those it is padded by meet zeros.
function subtract_before(size: u32, width: u32, start: u32): void {
  const run = <usize>padded(width) << 2;
  let panel = panel_of_u(size, width, start);
  const end = min<u32>(start + width, size);
  for (let c = start; c < end; c += 4) {
    let a0 = v128.load(weights(c)), a1 = v128.load(weights(c), 16);
    let b0 = v128.load(weights(c), 32), b1 = v128.load(weights(c), 48);
    let c0 = v128.load(weights(c), 64), c1 = v128.load(weights(c), 80);
    let d0 = v128.load(weights(c), 96), d1 = v128.load(weights(c), 112);
    let u = panel;
    const last = errors(start);
    for (let error = errors(0); error < last; error += COLUMN_BYTES) {
      const low = v128.load(error), high = v128.load(error, 16);
      let factor = v128.load32_splat(u);
      a0 = f32x4.relaxed_nmadd(low, factor, a0);
      a1 = f32x4.relaxed_nmadd(high, factor, a1);
      factor = v128.load32_splat(u, 4);
      b0 = f32x4.relaxed_nmadd(low, factor, b0);
      b1 = f32x4.relaxed_nmadd(high, factor, b1);
      factor = v128.load32_splat(u, 8);
      c0 = f32x4.relaxed_nmadd(low, factor, c0);
      c1 = f32x4.relaxed_nmadd(high, factor, c1);
      factor = v128.load32_splat(u, 12);
      d0 = f32x4.relaxed_nmadd(low, factor, d0);
      d1 = f32x4.relaxed_nmadd(high, factor, d1);
      u += run;
    }
    v128.store(weights(c), a0);
    v128.store(weights(c), a1, 16);
    v128.store(weights(c), b0, 32);
    v128.store(weights(c), b1, 48);
    v128.store(weights(c), c0, 64);
    v128.store(weights(c), c1, 80);
    v128.store(weights(c), d0, 96);
    v128.store(weights(c), d1, 112);
    panel += 16;
  }
}

// q = 0 where pruned, else w;  err = (w − q)/U[j,j];  w[c] -= err·U[j,c] for the panel's columns c > j
function sweep_columns(size: u32, width: u32, start: u32): void {
  const end = min<u32>(start + width, size);
  let u = panel_of_u(size, width, start) + (<usize>(start * padded(width)) << 2);
  for (let j = start; j < end; j++) {
    const scale = v128.load32_splat(reciprocal(j));
    const w0 = v128.load(weights(j)), w1 = v128.load(weights(j), 16);
    const flag0 = v128.load(pruned(j)), flag1 = v128.load(pruned(j), 16);
    const error0 = f32x4.mul(v128.and(w0, flag0), scale), error1 = f32x4.mul(v128.and(w1, flag1), scale);
    v128.store(weights(j), v128.andnot(w0, flag0));
    v128.store(weights(j), v128.andnot(w1, flag1), 16);
    v128.store(errors(j), error0);
    v128.store(errors(j), error1, 16);
    for (let c = j + 1; c < end; c++) {
      const factor = v128.load32_splat(u + (<usize>(c - start) << 2));
      v128.store(weights(c), f32x4.relaxed_nmadd(error0, factor, v128.load(weights(c))));
      v128.store(weights(c), f32x4.relaxed_nmadd(error1, factor, v128.load(weights(c), 16)), 16);
    }
    u += <usize>padded(width) << 2;
  }
}

// Q, Δ, the mask and the sums of a strip that has been swept.
function store_rows(args: usize, params: usize, row: u32, count: u32): void {
  const size = u32At(args, params + 1), matrixRow = u32At(args, params + 2) + row;
  const ldw = u32At(args, params + 7), words = u32At(args, params + 9);
  const element = <usize>(row * ldw + u32At(args, params + 6)) << 2;
  const w = pointer(args, 2) + element, q = pointer(args, 3) + element;
  store_strip(weights(0), count, size, q, <usize>ldw << 2);
  store_mask(pointer(args, 4) + (<usize>(matrixRow * words) << 2), <usize>words << 2, count, u32At(args, params + 8), size);

  let errorLow = f32x4.splat(0), errorHigh = errorLow;
  for (let j: u32 = 0; j < size; j++) {
    const low = v128.load(errors(j)), high = v128.load(errors(j), 16);
    errorLow = f32x4.relaxed_madd(low, low, errorLow);
    errorHigh = f32x4.relaxed_madd(high, high, errorHigh);
  }
  v128.store(spare(0), errorLow);
  v128.store(spare(0), errorHigh, 16);
  const sums = pointer(args, 5) + (<usize>matrixRow << 3);
  for (let r: u32 = 0; r < count; r++) {
    const at = <usize>(r * ldw) << 2;
    const pair = sums + (<usize>r << 3);
    store<f32>(pair, load<f32>(pair) + load<f32>(spare(0) + (<usize>r << 2)));
    store<f32>(pair, load<f32>(pair, 4) + store_delta(w + at, q + at, size), 4);
  }
}

// w ← w − q. Returns Σ (w − q)².
function store_delta(w: usize, q: usize, size: u32): f32 {
  let sums = f32x4.splat(0);
  let j: u32 = 0;
  for (; j + 4 <= size; j += 4) {
    const delta = f32x4.sub(v128.load(w), v128.load(q));
    v128.store(w, delta);
    sums = f32x4.relaxed_madd(delta, delta, sums);
    w += 16;
    q += 16;
  }
  let tail: f32 = 0;
  for (; j < size; j++) {
    const delta: f32 = load<f32>(w) - load<f32>(q);
    store<f32>(w, delta);
    tail += delta * delta;
    w += 4;
    q += 4;
  }
  return sum_lanes(sums) + tail;
}
