// The CPU twin of shaders/remove_weights.wgsl. src/device/kernels/remove_weights.ts describes the method and the
// buffers. A work item is one row.

import { RemoveWeightsArgs } from "./args";
import { scratch } from "./shared/instance";

// The values of `states`, which src/device/kernels/remove_weights.ts explains.
const REMOVED: u32 = 0;
const CANDIDATE: u32 = 1;
const FORCED: u32 = 2;
const LOCKED: u32 = 3;
// The key of a weight that may not be removed. It is larger than the key of every score, even of NaN.
const NO_KEY: u32 = 0xffffffff;
// The column that `choose_weight` returns if no weight may be removed.
const NO_COLUMN: u32 = 0xffffffff;

export function remove_weights_items(args: RemoveWeightsArgs): u32 {
  return args.rows;
}

export function remove_weights(args: RemoveWeightsArgs, item: u32): void {
  const end = min<u32>(args.start + args.steps, load<u32>(args.limits + (<usize>item << 2)));
  for (let k = args.start; k < end; k++) {
    const p = choose_weight(args, item);
    if (p == NO_COLUMN) break;
    remove_weight(args, item, k, p);
    if (args.group > 0) lock_group(args, item, p);
  }
}

// Returns the address of row r of a buffer that has one row of `ld` elements per matrix row.
@inline function row_of(args: RemoveWeightsArgs, buffer: usize, r: u32): usize {
  return buffer + ((<usize>r * args.ld) << 2);
}

// Returns the column of the weight to remove, which has the smallest key of row r. Keys have the same order as the
// scores. Forced weights have key 0, which is less than the key of every score.
function choose_weight(args: RemoveWeightsArgs, r: u32): u32 {
  const states = row_of(args, args.states, r), weights = row_of(args, args.weights, r);
  const diagonal = row_of(args, args.diagonal, r), cols = args.cols;
  // Lane i has the smallest key of the columns 4·q + i so far, and the first column that has it.
  let keys = i32x4.splat(NO_KEY), columns = i32x4.splat(NO_COLUMN);
  let column = i32x4(0, 1, 2, 3);
  const magnitude = i32x4.splat(0x7fffffff), one = i32x4.splat(1), none = i32x4.splat(NO_KEY);
  const candidate = i32x4.splat(CANDIDATE), forced = i32x4.splat(FORCED), four = i32x4.splat(4);
  for (let at: usize = 0, bytes = <usize>cols << 2; at < bytes; at += 16) {
    const state = v128.load(states + at);
    const score = f32x4.div(v128.load(weights + at), f32x4.sqrt(v128.load(diagonal + at)));
    const unforced = v128.bitselect(i32x4.add(v128.and(score, magnitude), one), none, i32x4.eq(state, candidate));
    const key = v128.andnot(unforced, i32x4.eq(state, forced));
    const smaller = i32x4.lt_u(key, keys);
    keys = v128.bitselect(key, keys, smaller);
    columns = v128.bitselect(column, columns, smaller);
    column = i32x4.add(column, four);
  }
  let smallest = NO_KEY, chosen = NO_COLUMN;
  v128.store(scratch(), keys);
  v128.store(scratch(), columns, 16);
  for (let lane: usize = 0; lane < 16; lane += 4) {
    const key = load<u32>(scratch() + lane), at = load<u32>(scratch() + lane, 16);
    if (key < smallest || (key == smallest && at < chosen)) {
      smallest = key;
      chosen = at;
    }
  }
  return smallest == NO_KEY ? NO_COLUMN : chosen;
}

// Removes the weight in column p, as step k of row r.
function remove_weight(args: RemoveWeightsArgs, r: u32, k: u32, p: u32): void {
  const bytes = <usize>args.ld << 2, at = <usize>p << 2;
  const states = row_of(args, args.states, r), weights = row_of(args, args.weights, r);
  const diagonal = row_of(args, args.diagonal, r), bounds = args.bounds;
  const history = args.vectors + (<usize>r * args.depth) * bytes, v = history + k * bytes;
  const root = f32(Math.sqrt(load<f32>(diagonal + at))), error = load<f32>(weights + at) / root;
  // v starts as H⁻¹[:, p]. Subtracting the contributions of the earlier steps makes it G[:, p]. They are subtracted
  // eight at a time, so that v is loaded and stored only once per eight vectors.
  memory.copy(v, args.inverse + <usize>p * bytes, bytes);
  let i: u32 = 0;
  for (; i + 8 <= k; i += 8) subtract_eight(v, history + i * bytes, at, bytes);
  for (; i < k; i++) subtract_one(v, history + i * bytes, at, bytes);

  const roots = f32x4.splat(root), errors = f32x4.splat(error), removed = i32x4.splat(REMOVED);
  for (let c: usize = 0; c < bytes; c += 16) {
    const state = v128.load(states + c);
    const value = v128.andnot(f32x4.div(v128.load(v + c), roots), i32x4.eq(state, removed));
    v128.store(v + c, value);
    const lowered = f32x4.sub(v128.load(diagonal + c), f32x4.mul(value, value));
    v128.store(diagonal + c, f32x4.max(lowered, v128.load(bounds + c)));
    v128.store(weights + c, f32x4.sub(v128.load(weights + c), f32x4.mul(errors, value)));
  }
  store<f32>(weights + at, 0);
  store<u32>(states + at, REMOVED);
  const entry = args.trace + (<usize>(r * args.depth + k) << 3);
  store<u32>(entry, p + 1);
  store<f32>(entry, abs(error), 4);
}

// Subtracts the contribution of one earlier step from `column`. `at` is the byte offset of column p.
function subtract_one(column: usize, vector: usize, at: usize, bytes: usize): void {
  const factor = f32x4.splat(-load<f32>(vector + at));
  for (let c: usize = 0; c < bytes; c += 16) {
    v128.store(column + c, f32x4.relaxed_madd(factor, v128.load(vector + c), v128.load(column + c)));
  }
}

// Subtracts the contributions of eight consecutive steps. The vector of the first of these steps is at `vector`.
function subtract_eight(column: usize, vector: usize, at: usize, bytes: usize): void {
  const v1 = vector + bytes, v2 = v1 + bytes, v3 = v2 + bytes, v4 = v3 + bytes;
  const v5 = v4 + bytes, v6 = v5 + bytes, v7 = v6 + bytes;
  const f0 = f32x4.splat(-load<f32>(vector + at)), f1 = f32x4.splat(-load<f32>(v1 + at));
  const f2 = f32x4.splat(-load<f32>(v2 + at)), f3 = f32x4.splat(-load<f32>(v3 + at));
  const f4 = f32x4.splat(-load<f32>(v4 + at)), f5 = f32x4.splat(-load<f32>(v5 + at));
  const f6 = f32x4.splat(-load<f32>(v6 + at)), f7 = f32x4.splat(-load<f32>(v7 + at));
  for (let c: usize = 0; c < bytes; c += 16) {
    let even = f32x4.mul(f0, v128.load(vector + c)), odd = f32x4.mul(f1, v128.load(v1 + c));
    even = f32x4.relaxed_madd(f2, v128.load(v2 + c), even);
    odd = f32x4.relaxed_madd(f3, v128.load(v3 + c), odd);
    even = f32x4.relaxed_madd(f4, v128.load(v4 + c), even);
    odd = f32x4.relaxed_madd(f5, v128.load(v5 + c), odd);
    even = f32x4.relaxed_madd(f6, v128.load(v6 + c), even);
    odd = f32x4.relaxed_madd(f7, v128.load(v7 + c), odd);
    v128.store(column + c, f32x4.add(v128.load(column + c), f32x4.add(even, odd)));
  }
}

// Locks the candidates of the group of column p if the group has no more weights than it must keep.
function lock_group(args: RemoveWeightsArgs, r: u32, p: u32): void {
  const states = row_of(args, args.states, r), group = args.group;
  const start = p / group * group, size = min<u32>(group, args.cols - start);
  let weights: u32 = 0;
  for (let c = start; c < start + size; c++) weights += u32(load<u32>(states + (<usize>c << 2)) != REMOVED);
  if (weights > (args.keep * size + group - 1) / group) return;
  for (let c = start; c < start + size; c++) {
    const state = states + (<usize>c << 2);
    if (load<u32>(state) == CANDIDATE) store<u32>(state, LOCKED);
  }
}
