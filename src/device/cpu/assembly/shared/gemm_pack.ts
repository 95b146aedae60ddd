// Packs an operand of the product A·B into panels, the order in which the micro-kernel reads it. A panel holds `width`
// neighbouring rows of A or columns of B. It is stored by steps: first the `width` elements of step 0 of the inner
// dimension, then those of step 1, up to step k − 1. If fewer than `width` rows or columns are left, zeros fill the
// panel. In this file, p counts the steps, and i counts the rows of A or the columns of B in a panel.

import { transpose_4x4 } from "./lanes";

// The address of element (row, col) of a stored matrix.
// @ts-ignore: decorator
@inline function element_address(base: usize, row: u32, col: u32, ld: u32): usize {
  return base + ((<usize>row * ld + col) << 2);
}

// target[panel][p][i] ← source[p][panel·width + i], for `count` rows or columns and k steps. `width` must be 4, 8, 16
// or a multiple of 32.
export function pack_panels(source: usize, ld: u32, count: u32, k: u32, width: u32, target: usize): void {
  for (let first: u32 = 0; first < count; first += width) {
    const cols = min(width, count - first), panel = element_address(source, 0, first, ld);
    if (cols < width) pack_ragged(panel, 1, ld, cols, k, width, target);
    else if (width >= 32) copy_rows(panel, ld, k, width, target);
    else if (width == 16) copy_rows_of_16(panel, ld, k, target);
    else if (width == 8) copy_rows_of_8(panel, ld, k, target);
    else copy_rows_of_4(panel, ld, k, target);
    target += <usize>k * width << 2;
  }
}

// target[panel][p][i] ← source[panel·width + i][p], as above. `width` must be a multiple of 4.
export function pack_panels_transposed(source: usize, ld: u32, count: u32, k: u32, width: u32, target: usize): void {
  const multipleOf4 = k & ~3;
  for (let first: u32 = 0; first < count; first += width) {
    const rows = min(width, count - first);
    const transposed = rows == width ? multipleOf4 : 0;
    if (transposed != 0) {
      for (let r: u32 = 0; r < width; r += 4) {
        transpose_4_rows(element_address(source, first + r, 0, ld), ld, transposed, width, target + (r << 2));
      }
    }
    const rest = target + (<usize>transposed * width << 2);
    pack_ragged(element_address(source, first, transposed, ld), ld, 1, rows, k - transposed, width, rest);
    target += <usize>k * width << 2;
  }
}

function copy_rows(source: usize, ld: u32, k: u32, width: u32, target: usize): void {
  const bytes = <usize>width << 2;
  for (; k != 0; k--, source += <usize>ld << 2, target += bytes) memory.copy(target, source, bytes);
}

function copy_rows_of_16(source: usize, ld: u32, k: u32, target: usize): void {
  const stride = <usize>ld << 2;
  for (; k != 0; k--, source += stride, target += 64) {
    v128.store(target, v128.load(source));
    v128.store(target, v128.load(source, 16), 16);
    v128.store(target, v128.load(source, 32), 32);
    v128.store(target, v128.load(source, 48), 48);
  }
}

function copy_rows_of_8(source: usize, ld: u32, k: u32, target: usize): void {
  const stride = <usize>ld << 2;
  for (; k != 0; k--, source += stride, target += 32) {
    v128.store(target, v128.load(source));
    v128.store(target, v128.load(source, 16), 16);
  }
}

function copy_rows_of_4(source: usize, ld: u32, k: u32, target: usize): void {
  const stride = <usize>ld << 2;
  for (; k != 0; k--, source += stride, target += 16) v128.store(target, v128.load(source));
}

// Packs `count` ≤ width rows or columns one element at a time and fills the panel with zeros. Element (i, p) is at
// source + i·rowStep + p·kStep, in elements.
function pack_ragged(source: usize, rowStep: u32, kStep: u32, count: u32, k: u32, width: u32, target: usize): void {
  for (let p: u32 = 0; p < k; p++, target += <usize>width << 2) {
    for (let i: u32 = 0; i < count; i++) {
      store<f32>(target + (i << 2), load<f32>(source + ((<usize>i * rowStep + <usize>p * kStep) << 2)));
    }
    for (let i = count; i < width; i++) store<f32>(target + (i << 2), 0);
  }
}

// Packs four rows of the source, so that their elements of one step become neighbours. k must be a multiple of 4.
function transpose_4_rows(source: usize, ld: u32, k: u32, width: u32, target: usize): void {
  const stride = <usize>ld << 2, step = <usize>width << 2;
  for (; k != 0; k -= 4, source += 16, target += step << 2) transpose_4x4(source, stride, target, step);
}
