// The CPU twins of the kernels in shaders/prune_block.wgsl: they compute the same. src/kernels/prune_block.ts
// describes the method and the buffers. A work item, which one thread runs, is some rows of a block of
// columns. It computes bundles of eight rows with one SIMD lane per row (prune_bundle.ts).
//
// Columns are computed left-looking, in panels of a few columns. First, one matrix product applies the errors
// of all columns before the panel to the panel. Then the columns of the panel are swept one by one.

import { sum_lanes } from "./lanes";
import {
  BUNDLE_ROWS, COLUMN_BYTES, errors, load_bundle, pack_u, panel_of_u, pruned, reciprocal, store_bundle, store_mask, temporary, weights,
} from "./prune_bundle";
import { ceil_divide, round_up } from "./rounding";

// The number of rows of a work item. It is a multiple of BUNDLE_ROWS, and so large that packing U takes only
// a twentieth of an item's time.
const ROWS_PER_ITEM: u32 = 96;
// The number of columns of a panel in prune_block, which is what the eight accumulators of `subtract_before`
// hold.
const PANEL: u32 = 4;

@unmanaged class PruneBlockArgs {
  work: usize;
  u: usize;
  w: usize;
  q: usize;
  mask: usize;
  sums: usize;
  keys: usize;
  selection: usize;
  rows: u32;
  size: u32;
  row0: u32;
  ldwork: u32;
  u_offset: u32;
  ldu: u32;
  w_offset: u32;
  ldw: u32;
  first: u32;
  words: u32;
}

@unmanaged class PruneBlockNMArgs {
  work: usize;
  u: usize;
  w: usize;
  q: usize;
  mask: usize;
  sums: usize;
  forced: usize;
  rows: u32;
  size: u32;
  row0: u32;
  ldwork: u32;
  u_offset: u32;
  ldu: u32;
  w_offset: u32;
  ldw: u32;
  first: u32;
  words: u32;
  keep: u32;
  group: u32;
  has_forced: u32;
}

export function prune_block_items(args: PruneBlockArgs): u32 {
  return ceil_divide(args.rows, ROWS_PER_ITEM);
}

export function prune_block(args: PruneBlockArgs, item: u32): void {
  const rows = args.rows, size = args.size, row0 = args.row0;
  const keys = args.keys, selection = args.selection;
  const end = min<u32>(rows, (item + 1) * ROWS_PER_ITEM);
  pack_block(args, PANEL);
  for (let r = item * ROWS_PER_ITEM; r < end; r += BUNDLE_ROWS) {
    const count = min<u32>(BUNDLE_ROWS, end - r);
    load_weights(args, r, count);
    load_bundle(keys + (<usize>((row0 + r) * size) << 2), <usize>size << 2, count, size, pruned(0));
    choose_by_key(selection, row0 + r, count, size);
    for (let start: u32 = 0; start < size; start += PANEL) {
      subtract_before(size, PANEL, start);
      sweep_columns(size, PANEL, start);
    }
    store_rows(args, r, count);
  }
}

export function prune_block_n_m_items(args: PruneBlockNMArgs): u32 {
  return ceil_divide(args.rows, ROWS_PER_ITEM);
}

export function prune_block_n_m(args: PruneBlockNMArgs, item: u32): void {
  const rows = args.rows, size = args.size, row0 = args.row0, first = args.first, words = args.words;
  const keep = args.keep, group = args.group, hasForced = args.has_forced == 1;
  const panel = min<u32>(group, size);
  const end = min<u32>(rows, (item + 1) * ROWS_PER_ITEM);
  pack_block(args, panel);
  for (let r = item * ROWS_PER_ITEM; r < end; r += BUNDLE_ROWS) {
    const count = min<u32>(BUNDLE_ROWS, end - r);
    load_weights(args, r, count);
    memory.fill(pruned(0), 0, size * COLUMN_BYTES);
    if (hasForced) load_forced(args.forced + (<usize>((row0 + r) * words) << 2), <usize>words << 2, count, first, size);
    for (let start: u32 = 0; start < size; start += group) {
      const width = min<u32>(group, size - start);
      subtract_before(size, panel, start);
      choose_in_group(start, width, width - ceil_divide(keep * width, group));
      sweep_columns(size, panel, start);
    }
    store_rows(args, r, count);
  }
}

// The type parameter `A` is PruneBlockArgs or PruneBlockNMArgs.
function pack_block<A>(args: A, width: u32): void {
  pack_u(args.u + (<usize>args.u_offset << 2), <usize>args.ldu << 2, args.size, width);
}

function load_weights<A>(args: A, row: u32, count: u32): void {
  const work = args.work + (<usize>((args.row0 + row) * args.ldwork) << 2);
  load_bundle(work, <usize>args.ldwork << 2, count, args.size, weights(0));
}

// Replaces the sort keys in `pruned` by flags. An entry is pruned if its key is below the threshold. Entries
// whose key equals the threshold are ties, which are pruned from left to right until the row's number of ties
// in `selection` is used up. All columns are decided at once, because the keys do not change during the
// sweep.
function choose_by_key(selection: usize, row: u32, count: u32, size: u32): void {
  const threshold = i32x4.splat(load<u32>(selection));
  const ties = selection + (<usize>(2 + row) << 2);
  memory.fill(temporary(0), 0, COLUMN_BYTES);
  memory.copy(temporary(0), ties, <usize>count << 2);
  let remaining = v128.load(temporary(0)), remainingHigh = v128.load(temporary(0), 16);
  const zero = i32x4.splat(0);
  for (let j: u32 = 0; j < size; j++) {
    const key = v128.load(pruned(j)), keyHigh = v128.load(pruned(j), 16);
    const tie = v128.and(i32x4.eq(key, threshold), i32x4.gt_s(remaining, zero));
    const tieHigh = v128.and(i32x4.eq(keyHigh, threshold), i32x4.gt_s(remainingHigh, zero));
    remaining = i32x4.add(remaining, tie); // a flag counts as −1
    remainingHigh = i32x4.add(remainingHigh, tieHigh);
    v128.store(pruned(j), v128.or(i32x4.lt_u(key, threshold), tie));
    v128.store(pruned(j), v128.or(i32x4.lt_u(keyHigh, threshold), tieHigh), 16);
  }
  v128.store(temporary(0), remaining);
  v128.store(temporary(0), remainingHigh, 16);
  memory.copy(ties, temporary(0), <usize>count << 2);
}

// Flags the forced entries, which must be pruned. `forced` points to the first mask word of the bundle's
// first row.
function load_forced(forced: usize, stride: usize, count: u32, first: u32, size: u32): void {
  for (let r: u32 = 0; r < count; r++) {
    for (let j: u32 = 0; j < size; j++) {
      const column = first + j;
      const bit = (load<u32>(forced + r * stride + (<usize>(column >> 5) << 2)) >> (column & 31)) & 1;
      store<i32>(pruned(j) + (<usize>r << 2), -(<i32>bit));
    }
  }
}

// Flags the entries of the group whose rank is below `quota`, where rank 0 has the smallest score. The rank
// of an entry is found by comparing it with every other entry of the group.
function choose_in_group(start: u32, width: u32, quota: u32): void {
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

// W[:, c] ← W[:, c] − Σ_{j < start} Err[:, j]·U[j, c] for the columns c of the panel at `start`, four at a
// time. W are the weights and Err the errors of the bundle. In the columns that pad the panel to a multiple
// of four, the packed U holds zeros.
function subtract_before(size: u32, width: u32, start: u32): void {
  const rowBytes = <usize>round_up(width, 4) << 2;
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
      u += rowBytes;
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

// Prunes each column j of the panel at `start`, from left to right:
//   q = 0 if the entry is pruned, else w[j];  err = (w[j] − q)/U[j,j];
//   w[c] −= err·U[j,c] for the columns c > j of the panel.
function sweep_columns(size: u32, width: u32, start: u32): void {
  const end = min<u32>(start + width, size);
  const rowBytes = <usize>round_up(width, 4) << 2;
  let u = panel_of_u(size, width, start) + <usize>start * rowBytes;
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
    u += rowBytes;
  }
}

// Stores the results of a bundle that has been swept: the pruned weights Q, Δ = W − Q, the mask, and the
// sums.
function store_rows<A>(args: A, row: u32, count: u32): void {
  const size = args.size, ldw = args.ldw, words = args.words, matrixRow = args.row0 + row;
  const offset = <usize>(row * ldw + args.w_offset) << 2;
  const w = args.w + offset, q = args.q + offset;
  store_bundle(weights(0), count, size, q, <usize>ldw << 2);
  store_mask(args.mask + (<usize>(matrixRow * words) << 2), <usize>words << 2, count, args.first, size);

  let errorLow = f32x4.splat(0), errorHigh = errorLow;
  for (let j: u32 = 0; j < size; j++) {
    const low = v128.load(errors(j)), high = v128.load(errors(j), 16);
    errorLow = f32x4.relaxed_madd(low, low, errorLow);
    errorHigh = f32x4.relaxed_madd(high, high, errorHigh);
  }
  v128.store(temporary(0), errorLow);
  v128.store(temporary(0), errorHigh, 16);
  const sums = args.sums + (<usize>matrixRow << 3);
  for (let r: u32 = 0; r < count; r++) {
    const rowOffset = <usize>(r * ldw) << 2;
    const rowSums = sums + (<usize>r << 3); // Σ err² and Σ Δ²
    store<f32>(rowSums, load<f32>(rowSums) + load<f32>(temporary(0) + (<usize>r << 2)));
    store<f32>(rowSums, load<f32>(rowSums, 4) + store_delta(w + rowOffset, q + rowOffset, size), 4);
  }
}

// w ← w − q over one row. Returns Σ (w − q)².
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
