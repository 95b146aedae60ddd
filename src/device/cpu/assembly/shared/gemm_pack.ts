// Packs an operand of the product A·B into panels, the order in which the micro-kernel reads it. A panel holds `width`
// neighbouring rows of A or columns of B. It is stored by steps: first the `width` elements of step 0 of the inner
// dimension, then the elements of step 1, up to step k − 1. If fewer than `width` rows or columns are left, zeros fill
// the panel. In this file, p counts the steps, and i counts the rows of A or the columns of B in a panel.

import { transpose_4x4 } from "./lanes";

// The address of element (row, col) of a stored matrix.
@inline function element_address(base: usize, row: u32, col: u32, ld: u32): usize {
  return base + ((<usize>row * ld + col) << 2);
}

// target[panel][p][i] ← source[p][panel·width + i], for `count` rows or columns and k steps. `width` must be 4, 6, 8,
// 16 or a multiple of 32. The source is read row by row, because a processor fetches the next lines of a row in advance,
// but not lines that are a whole row apart.
export function pack_panels(source: usize, ld: u32, count: u32, k: u32, width: u32, target: usize): void {
  const panels = count / width, whole = panels * width, panelBytes = <usize>k * width << 2;
  if (width >= 32) copy_rows(source, ld, panels, k, width, target);
  else if (width == 16) copy_narrow_rows(source, ld, panels, k, 16, target);
  else if (width == 8) copy_narrow_rows(source, ld, panels, k, 8, target);
  else if (width == 6) copy_narrow_rows(source, ld, panels, k, 6, target);
  else copy_narrow_rows(source, ld, panels, k, 4, target);
  if (whole < count) {
    pack_ragged(element_address(source, 0, whole, ld), 1, ld, count - whole, k, width, target + panels * panelBytes);
  }
}

// target[panel][p][i] ← source[panel·width + i][p], as above. `width` must be even.
export function pack_panels_transposed(source: usize, ld: u32, count: u32, k: u32, width: u32, target: usize): void {
  const multipleOf4 = k & ~3;
  for (let first: u32 = 0; first < count; first += width) {
    const rows = min(width, count - first);
    const transposed = rows == width ? multipleOf4 : 0;
    if (transposed != 0) {
      let r: u32 = 0;
      for (; r + 4 <= width; r += 4) {
        transpose_4_rows(element_address(source, first + r, 0, ld), ld, transposed, width, target + (r << 2));
      }
      if (r < width) transpose_2_rows(element_address(source, first + r, 0, ld), ld, transposed, width, target + (r << 2));
    }
    const rest = target + (<usize>transposed * width << 2);
    pack_ragged(element_address(source, first, transposed, ld), ld, 1, rows, k - transposed, width, rest);
    target += <usize>k * width << 2;
  }
}

function copy_rows(source: usize, ld: u32, panels: u32, k: u32, width: u32, target: usize): void {
  const stride = <usize>ld << 2, rowBytes = <usize>width << 2, panelBytes = k * rowBytes;
  for (; k != 0; k--, source += stride, target += rowBytes) {
    let from = source, to = target;
    for (let panel = panels; panel != 0; panel--, from += rowBytes, to += panelBytes) memory.copy(to, from, rowBytes);
  }
}

// Does the same for a narrow `width`, which is a constant wherever the function is inlined.
@inline function copy_narrow_rows(source: usize, ld: u32, panels: u32, k: u32, width: u32, target: usize): void {
  const stride = <usize>ld << 2, rowBytes = <usize>width << 2, panelBytes = k * rowBytes;
  for (; k != 0; k--, source += stride, target += rowBytes) {
    let from = source, to = target;
    for (let panel = panels; panel != 0; panel--, from += rowBytes, to += panelBytes) {
      v128.store(to, v128.load(from));
      if (width == 6) store<u64>(to, load<u64>(from, 16), 16);
      if (width >= 8) v128.store(to, v128.load(from, 16), 16);
      if (width == 16) v128.store(to, v128.load(from, 32), 32), v128.store(to, v128.load(from, 48), 48);
    }
  }
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

// Packs two rows of the source in the same way.
function transpose_2_rows(source: usize, ld: u32, k: u32, width: u32, target: usize): void {
  const stride = <usize>ld << 2, step = <usize>width << 2;
  for (; k != 0; k -= 4, source += 16, target += step << 2) {
    const row0 = v128.load(source), row1 = v128.load(source + stride);
    const low = v128.shuffle<f32>(row0, row1, 0, 4, 1, 5), high = v128.shuffle<f32>(row0, row1, 2, 6, 3, 7);
    v128.store64_lane(target, low, 0);
    v128.store64_lane(target + step, low, 1);
    v128.store64_lane(target + 2 * step, high, 0);
    v128.store64_lane(target + 3 * step, high, 1);
  }
}
