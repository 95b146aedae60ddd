// The CPU twins of the kernels in shaders/check.wgsl. Both check whole vectors first, and search for the exact index
// only if a vector fails. A work item is a run of elements in check_finite, and some whole rows in check_symmetry.

import { CheckFiniteArgs, CheckSymmetryArgs } from "./args";
import { rows_per_item, ceil_divide } from "./shared/items";
import { scratch } from "./shared/instance";
import { transpose_4x4 } from "./shared/lanes";

const MAGNITUDE: i32 = 0x7fffffff;
const NOTHING_FOUND: u32 = 0xffffffff;
export const ELEMENTS_PER_ITEM: u32 = 1 << 17;
// The number of f32 in a cache line. A work item has at least this many rows of the strip. The mirror images of a
// column of the strip are neighbours in memory, so the item then reads whole cache lines of them.
const LINE: u32 = 16;
// The number of rows that are compared together, over one cache line of columns. If the leading dimension is a power of
// two, the lines of all rows fall into one set of the first-level cache, which holds at most twelve lines. With eight
// rows, each line is compared completely before it is evicted.
const BLOCK_ROWS: u32 = 8;

// Replaces the word at `address` by `value` if `value` is smaller, in one atomic step.
function atomic_min(address: usize, value: u32): void {
  let current = atomic.load<u32>(address);
  while (value < current) {
    const before = atomic.cmpxchg<u32>(address, current, value);
    if (before == current) return;
    current = before;
  }
}

// Sets all bits of each lane that is NaN or has a magnitude of at least the limit.
@inline function beyond4(words: v128, limit: v128): v128 {
  return i32x4.ge_s(v128.and(words, i32x4.splat(MAGNITUDE)), limit);
}

// Returns the index of the first of `count` elements at `run` that is beyond the limit, or `count` if there is none.
function find_beyond(run: usize, count: u32, limit: i32): u32 {
  const limits = i32x4.splat(limit);
  let i: u32 = 0;
  for (; i + 16 <= count; i += 16) {
    const at = run + (<usize>i << 2);
    const a = v128.or(beyond4(v128.load(at), limits), beyond4(v128.load(at, 16), limits));
    const b = v128.or(beyond4(v128.load(at, 32), limits), beyond4(v128.load(at, 48), limits));
    if (v128.any_true(v128.or(a, b))) break;
  }
  while (i < count && (load<i32>(run + (<usize>i << 2)) & MAGNITUDE) < limit) i++;
  return i;
}

export function check_finite_elements(args: CheckFiniteArgs, first: u32, total: u32): void {
  const end = first + total;
  const x = args.x + (<usize>args.offset << 2);
  // Rows without gaps between them are one long row.
  const cols = args.cols == args.ld ? args.count : args.cols, ld = args.ld;
  for (let i = first; i < end; ) {
    const row = i / cols, column = i % cols, count = min<u32>(cols - column, end - i);
    const found = find_beyond(x + ((<usize>row * ld + column) << 2), count, <i32>args.limit);
    if (found < count) {
      atomic_min(args.first + (<usize>args.slot << 2), i + found);
      return;
    }
    i += count;
  }
}

@inline function strip_rows_per_item(cols: u32): u32 {
  return max<u32>(LINE, rows_per_item(cols, ELEMENTS_PER_ITEM));
}

export function check_symmetry_items(args: CheckSymmetryArgs): u32 {
  return ceil_divide(args.rows, strip_rows_per_item(args.cols));
}

export function check_symmetry(args: CheckSymmetryArgs, item: u32): void {
  const rows = args.rows, cols = args.cols;
  const step = strip_rows_per_item(cols);
  const firstRow = item * step, endRow = min<u32>(rows, firstRow + step);
  let lowest = NOTHING_FOUND;
  for (let left: u32 = 0; left < cols; left += LINE) {
    const right = min<u32>(cols, left + LINE);
    for (let top = firstRow; top < endRow; top += BLOCK_ROWS) {
      lowest = min<u32>(lowest, lowest_asymmetric(args, top, min<u32>(endRow, top + BLOCK_ROWS), left, right));
    }
  }
  if (lowest != NOTHING_FOUND) atomic_min(args.first + (<usize>args.slot << 2), lowest);
}

// Returns the lowest index in the strip of an asymmetric element, or NOTHING_FOUND if there is none. It checks rows top
// … bottom−1 of the strip and columns left … right−1, counted from column col0 of the matrix.
function lowest_asymmetric(args: CheckSymmetryArgs, top: u32, bottom: u32, left: u32, right: u32): u32 {
  const row0 = args.row0, col0 = args.col0, ldstrip = args.ldstrip, ldupper = args.ldupper;
  const diagonal = args.diagonal, tolerance = args.tolerance;
  let lowest = NOTHING_FOUND;
  for (let c = left; c < right; c += 4) {
    const j = col0 + c, width = min<u32>(4, right - c);
    // Counted in elements, element (r, j) of the strip is at strip + r·ldstrip, and its mirror image at upper + r.
    const strip = args.strip + (<usize>j << 2);
    const upper = args.upper + (<usize>(c * ldupper + row0 - args.tile_col0) << 2);
    for (let r = top; r < bottom; r += 4) {
      const i = row0 + r, height = min<u32>(4, bottom - r);
      if (i + height <= j + 1) continue; // on or above the diagonal
      const wholeBlock = height == 4 && width == 4 && i > j + 3;
      const mirror = upper + (<usize>r << 2);
      if (
        wholeBlock &&
        !is_asymmetric_block(strip + (<usize>(r * ldstrip) << 2), ldstrip, mirror, ldupper, diagonal, i, j, tolerance)
      ) continue;
      for (let a: u32 = 0; a < height; a++) {
        for (let b: u32 = 0; b < width && i + a > j + b; b++) {
          const below = load<f32>(strip + (<usize>((r + a) * ldstrip + b) << 2));
          const above = load<f32>(mirror + (<usize>(b * ldupper + a) << 2));
          // Two roots are multiplied, because the product of two diagonal elements may be out of range for f32.
          const bound = tolerance * sqrt<f32>(element(diagonal, j + b)) * sqrt<f32>(element(diagonal, i + a));
          if (abs<f32>(below - above) > bound) lowest = min<u32>(lowest, (r + a) * ldstrip + j + b);
        }
      }
    }
  }
  return lowest;
}

@inline function element(x: usize, i: u32): f32 {
  return load<f32>(x + (<usize>i << 2));
}

// Whether any element of a 4×4 block strictly below the diagonal is asymmetric. `strip` is the address of the block's
// first element, which is matrix element (i, j). `mirror` is the address of matrix element (j, i).
@inline function is_asymmetric_block(
  strip: usize,
  ldstrip: u32,
  mirror: usize,
  ldupper: u32,
  diagonal: usize,
  i: u32,
  j: u32,
  tolerance: f32,
): bool {
  const mirrored = scratch();
  transpose_4x4(mirror, <usize>ldupper << 2, mirrored, 16);
  const bounds = f32x4.mul(f32x4.splat(tolerance), f32x4.sqrt(v128.load(diagonal + (<usize>j << 2))));
  let asymmetric = i32x4.splat(0);
  for (let a: u32 = 0; a < 4; a++) {
    const row = v128.load(strip + (<usize>(a * ldstrip) << 2));
    const difference = f32x4.abs(f32x4.sub(row, v128.load(mirrored + (a << 4))));
    const bound = f32x4.mul(bounds, f32x4.splat(sqrt<f32>(element(diagonal, i + a))));
    asymmetric = v128.or(asymmetric, f32x4.gt(difference, bound));
  }
  return v128.any_true(asymmetric);
}
