// Twin of shaders/check.wgsl. Both scan with SIMD and look for the exact place only where a vector offends.

import { f32At, pointer, u32At } from "./args";
import { ceil_divide, rows_per_item } from "./items";
import { scratch } from "./scratch";
import { transpose_4x4 } from "./transpose";

const EXPONENT: i32 = 0x7f800000;
const ELEMENTS_PER_ITEM: u32 = 1 << 17;
// Rows of the strip an item compares, at least: whole cache lines of the mirrored columns.
const LINE: u32 = 16;
// Rows compared together, a cache line of columns at a time. At leading dimensions that are powers of two, rows share a set of the
// first-level cache, which holds twelve lines at most: a line must not be left before all of it is compared.
const BLOCK_ROWS: u32 = 8;

// first ← min(first, value), threads notwithstanding.
function atomic_min(first: usize, value: u32): void {
  let seen = atomic.load<u32>(first);
  while (value < seen) {
    const before = atomic.cmpxchg<u32>(first, seen, value);
    if (before == seen) return;
    seen = before;
  }
}

// Lanes all ones where NaN or infinite.
// @ts-ignore: decorator
@inline function non_finite4(words: v128): v128 {
  return i32x4.eq(v128.and(words, i32x4.splat(EXPONENT)), i32x4.splat(EXPONENT));
}

export function check_finite_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, 2), ELEMENTS_PER_ITEM);
}

export function check_finite(args: usize, item: i32): void {
  const first = <u32>item * ELEMENTS_PER_ITEM;
  const end = first + min<u32>(ELEMENTS_PER_ITEM, u32At(args, 2) - first);
  const x = pointer(args, 0) + (<usize>u32At(args, 3) << 2);
  let i = first;
  for (; i + 16 <= end; i += 16) {
    const at = x + (<usize>i << 2);
    const a = v128.or(non_finite4(v128.load(at)), non_finite4(v128.load(at, 16)));
    const b = v128.or(non_finite4(v128.load(at, 32)), non_finite4(v128.load(at, 48)));
    if (v128.any_true(v128.or(a, b))) break;
  }
  for (; i < end; i++) {
    if ((load<i32>(x + (<usize>i << 2)) & EXPONENT) == EXPONENT) {
      atomic_min(pointer(args, 1) + (<usize>u32At(args, 4) << 2), i);
      return;
    }
  }
}

export function check_symmetry_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, 4), max<u32>(LINE, rows_per_item(u32At(args, 5), ELEMENTS_PER_ITEM)));
}

export function check_symmetry(args: usize, item: i32): void {
  const rows = u32At(args, 4), cols = u32At(args, 5);
  const step = max<u32>(LINE, rows_per_item(cols, ELEMENTS_PER_ITEM));
  const firstRow = <u32>item * step;
  const endRow = min<u32>(rows, firstRow + step);
  let lowest: u32 = 0xffffffff;
  for (let left: u32 = 0; left < cols; left += LINE) {
    const right = min<u32>(cols, left + LINE);
    for (let top = firstRow; top < endRow; top += BLOCK_ROWS) {
      lowest = min<u32>(lowest, lowest_offender(args, top, min<u32>(endRow, top + BLOCK_ROWS), left, right));
    }
  }
  if (lowest != 0xffffffff) atomic_min(pointer(args, 3) + (<usize>u32At(args, 11) << 2), lowest);
}

// The index of the first element that offends in rows top … bottom−1 of the strip and columns left … right−1 of those compared.
function lowest_offender(args: usize, top: u32, bottom: u32, left: u32, right: u32): u32 {
  const row0 = u32At(args, 6), col0 = u32At(args, 7);
  const ldstrip = u32At(args, 8), ldupper = u32At(args, 9), tileCol0 = u32At(args, 10);
  const diagonal = pointer(args, 2);
  const tolerance = f32At(args, 12);
  let lowest: u32 = 0xffffffff;
  for (let c = left; c < right; c += 4) {
    const j = col0 + c, width = min<u32>(4, right - c);
    // Column j of the strip and what mirrors it, for row r: strip + r·ldstrip, upper + r.
    const strip = pointer(args, 0) + (<usize>j << 2);
    const upper = pointer(args, 1) + (<usize>(c * ldupper + row0 - tileCol0) << 2);
    for (let r = top; r < bottom; r += 4) {
      const i = row0 + r, height = min<u32>(4, bottom - r);
      if (i + height <= j + 1) continue; // on or above the diagonal
      const whole = height == 4 && width == 4 && i > j + 3;
      const mirror = upper + (<usize>r << 2);
      if (
        whole &&
        !block_offends(strip + (<usize>(r * ldstrip) << 2), ldstrip, mirror, ldupper, diagonal, i, j, tolerance)
      ) continue;
      for (let a: u32 = 0; a < height; a++) {
        for (let b: u32 = 0; b < width && i + a > j + b; b++) {
          const below = load<f32>(strip + (<usize>((r + a) * ldstrip + b) << 2));
          const above = load<f32>(mirror + (<usize>(b * ldupper + a) << 2));
          // Two roots: the product of two diagonals may leave the range of f32.
          const bound = tolerance * sqrt<f32>(at(diagonal, j + b)) * sqrt<f32>(at(diagonal, i + a));
          if (abs<f32>(below - above) > bound) lowest = min<u32>(lowest, (r + a) * ldstrip + j + b);
        }
      }
    }
  }
  return lowest;
}

// @ts-ignore: decorator
@inline function at(x: usize, i: u32): f32 {
  return load<f32>(x + (<usize>i << 2));
}

// Whether some element of a 4×4 block wholly below the diagonal offends: `strip` its first element, `mirror` its mirror's.
// @ts-ignore: decorator
@inline function block_offends(
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
  let offends = i32x4.splat(0);
  for (let a: u32 = 0; a < 4; a++) {
    const row = v128.load(strip + (<usize>(a * ldstrip) << 2));
    const difference = f32x4.abs(f32x4.sub(row, v128.load(mirrored + (a << 4))));
    const bound = f32x4.mul(bounds, f32x4.splat(sqrt<f32>(at(diagonal, i + a))));
    offends = v128.or(offends, f32x4.gt(difference, bound));
  }
  return v128.any_true(offends);
}
