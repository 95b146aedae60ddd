// Stores the results of the loop over the columns in column_loop.ts. The type parameter `A` is explained there.

import { sum_lanes, transpose_4x4 } from "./lanes";
import { COLUMN_BYTES, errors, store_bundle, store_mask, temporary, weights } from "./prune_bundle";

// Stores the results of a bundle after its sweep: the new weights Q, the change Δ = W − Q, the mask, and the sums of
// the squares of the errors and of Δ.
export function store_rows<A>(args: A, row: u32, count: u32): void {
  const size = args.size, words = args.words, matrixRow = args.row0 + row, stride = <usize>args.ldw << 2;
  let offset = row * stride + (<usize>args.w_offset << 2);
  store_mask(args.mask + (<usize>(matrixRow * words) << 2), <usize>words << 2, count, args.first, size);

  let errorLow = f32x4.splat(0), errorHigh = errorLow;
  for (let j: u32 = 0; j < size; j++) {
    const low = v128.load(errors(j)), high = v128.load(errors(j), 16);
    errorLow = f32x4.relaxed_madd(low, low, errorLow);
    errorHigh = f32x4.relaxed_madd(high, high, errorHigh);
  }
  v128.store(temporary(0), errorLow);
  v128.store(temporary(0), errorHigh, 16);
  let sums = args.sums + (<usize>matrixRow << 3); // Σ err² and Σ Δ² of each row
  for (let r: u32 = 0; r < count; r++) {
    const rowSum = sums + (<usize>r << 3);
    store<f32>(rowSum, load<f32>(rowSum) + load<f32>(temporary(0) + (<usize>r << 2)));
  }
  for (let r: u32 = 0; r < count; r += 4, sums += 32, offset += 4 * stride) {
    const rows = min<u32>(4, count - r), bundle = weights(0) + (<usize>r << 2), w = args.w + offset, q = args.q + offset;
    if (rows == 4 && size % 4 == 0) {
      store_four_rows(bundle, w, q, stride, size, sums);
      continue;
    }
    store_bundle(bundle, rows, size, q, stride);
    for (let i: u32 = 0; i < rows; i++) add_to_delta_sum(sums, i, store_delta(w + i * stride, q + i * stride, size));
  }
}

@inline function add_to_delta_sum(sums: usize, row: u32, sum: f32): void {
  const deltaSum = sums + (<usize>row << 3);
  store<f32>(deltaSum, load<f32>(deltaSum, 4) + sum, 4);
}

// Stores Q and Δ of four rows at once, so that W is read from memory while Q is written. `size` is a multiple of 4.
function store_four_rows(bundle: usize, w: usize, q: usize, stride: usize, size: u32, sums: usize): void {
  let sum0 = f32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (const end = w + (<usize>size << 2); w < end; w += 16, q += 16, bundle += 4 * COLUMN_BYTES) {
    transpose_4x4(bundle, COLUMN_BYTES, q, stride);
    sum0 = store_four_deltas(w, q, sum0);
    sum1 = store_four_deltas(w + stride, q + stride, sum1);
    sum2 = store_four_deltas(w + 2 * stride, q + 2 * stride, sum2);
    sum3 = store_four_deltas(w + 3 * stride, q + 3 * stride, sum3);
  }
  add_to_delta_sum(sums, 0, sum_lanes(sum0));
  add_to_delta_sum(sums, 1, sum_lanes(sum1));
  add_to_delta_sum(sums, 2, sum_lanes(sum2));
  add_to_delta_sum(sums, 3, sum_lanes(sum3));
}

// w ← w − q for four neighbouring elements. Adds their squares to the lanes of `sums`.
@inline function store_four_deltas(w: usize, q: usize, sums: v128): v128 {
  const delta = f32x4.sub(v128.load(w), v128.load(q));
  v128.store(w, delta);
  return f32x4.relaxed_madd(delta, delta, sums);
}

// w ← w − q over one row. Returns Σ (w − q)².
function store_delta(w: usize, q: usize, size: u32): f32 {
  let sums = f32x4.splat(0);
  let j: u32 = 0;
  for (; j + 4 <= size; j += 4) {
    sums = store_four_deltas(w, q, sums);
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
