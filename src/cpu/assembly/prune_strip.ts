// A strip: 8 rows of a block turned to columns, so that a lane is a row and the column loop needs no branches. Column j of a strip is
// 32 bytes: the 8 rows' weights, errors or flags (all ones where pruned). U is repacked by panels, the columns swept together,
// each 4-aligned group of columns contiguous. All of it is scratch; what is kept here is how it is laid out, loaded and stored.

import { scratch } from "./scratch";
import { transpose_4x4 } from "./transpose";

export const STRIP_ROWS: u32 = 8;
export const COLUMN_BYTES: usize = 32;
// MAX_BLOCK_SIZE of src/kernels/prune_block.ts, and the columns a last panel may be padded by.
const MAX_COLUMNS: usize = 256 + 4;
const STRIP_BYTES: usize = MAX_COLUMNS * COLUMN_BYTES;

// Updated weights, then Q.
// @ts-ignore: decorator
@inline export function weights(j: u32): usize {
  return scratch() + j * COLUMN_BYTES;
}

// err = (w − q)/U[j,j]
// @ts-ignore: decorator
@inline export function errors(j: u32): usize {
  return scratch() + STRIP_BYTES + j * COLUMN_BYTES;
}

// @ts-ignore: decorator
@inline export function pruned(j: u32): usize {
  return scratch() + 2 * STRIP_BYTES + j * COLUMN_BYTES;
}

// A strip of 32-bit elements for whoever needs one for a moment.
// @ts-ignore: decorator
@inline export function spare(j: u32): usize {
  return scratch() + 3 * STRIP_BYTES + j * COLUMN_BYTES;
}

// 1/U[j,j]
// @ts-ignore: decorator
@inline export function reciprocal(j: u32): usize {
  return scratch() + 4 * STRIP_BYTES + (<usize>j << 2);
}

// The strictly upper part of U's columns start … start+width−1 (a panel of `width`, `size` columns in all): row j is a run of `width`
// rounded up to 4.
// @ts-ignore: decorator
@inline export function panel_of_u(size: u32, width: u32, start: u32): usize {
  return scratch() + 5 * STRIP_BYTES + (<usize>(start / width * size * padded(width)) << 2);
}

// @ts-ignore: decorator
@inline export function padded(width: u32): u32 {
  return (width + 3) & ~3;
}

export function pack_u(u: usize, stride: usize, size: u32, width: u32): void {
  for (let j: u32 = 0; j < size; j++) store<f32>(reciprocal(j), 1 / load<f32>(u + j * (stride + 4)));
  for (let start: u32 = 0; start < size; start += width) {
    const end = min<u32>(start + width, size);
    let target = panel_of_u(size, width, start);
    for (let j: u32 = 0; j < end; j++) {
      const row = u + j * stride;
      for (let c = start; c < start + padded(width); c += 4) {
        if (j < start && c + 4 <= end) {
          v128.store(target, v128.load(row + (<usize>c << 2)));
        } else {
          for (let k = c; k < c + 4; k++) {
            store<f32>(target + (<usize>(k - c) << 2), k < end && k > j ? load<f32>(row + (<usize>k << 2)) : 0);
          }
        }
        target += 16;
      }
    }
  }
}

// Columns of `target` ← `rows` ≤ 8 rows of `cols` 32-bit elements; missing rows read as 0.
export function load_strip(source: usize, stride: usize, rows: u32, cols: u32, target: usize): void {
  for (let r: u32 = 0; r < STRIP_ROWS; r += 4) {
    let c: u32 = 0;
    if (r + 4 <= rows) {
      for (; c + 4 <= cols; c += 4) {
        transpose_4x4(
          source + r * stride + (<usize>c << 2), stride, target + c * COLUMN_BYTES + (<usize>r << 2), COLUMN_BYTES,
        );
      }
    }
    for (; c < cols; c++) {
      for (let i = r; i < r + 4; i++) {
        const element = i < rows ? load<u32>(source + i * stride + (<usize>c << 2)) : 0;
        store<u32>(target + c * COLUMN_BYTES + (<usize>i << 2), element);
      }
    }
  }
}

// The inverse of `load_strip`.
export function store_strip(source: usize, rows: u32, cols: u32, target: usize, stride: usize): void {
  for (let r: u32 = 0; r < rows; r += 4) {
    let c: u32 = 0;
    if (r + 4 <= rows) {
      for (; c + 4 <= cols; c += 4) {
        transpose_4x4(
          source + c * COLUMN_BYTES + (<usize>r << 2), COLUMN_BYTES, target + r * stride + (<usize>c << 2), stride,
        );
      }
    }
    for (; c < cols; c++) {
      for (let i = r; i < min<u32>(r + 4, rows); i++) {
        store<u32>(target + i * stride + (<usize>c << 2), load<u32>(source + c * COLUMN_BYTES + (<usize>i << 2)));
      }
    }
  }
}

// Writes the strip's bits: `mask` is the mask's first word of the strip's first row, `stride` the bytes of a row, `first` the matrix
// column of the block's first.
export function store_mask(mask: usize, stride: usize, rows: u32, first: u32, size: u32): void {
  let j: u32 = 0;
  while (j < size) {
    const column = first + j, bit = column & 31;
    const count = min<u32>(32 - bit, size - j);
    let low = i32x4.splat(0), high = low;
    for (let k: u32 = 0; k < count; k++) {
      const flag = i32x4.splat(1 << (bit + k));
      low = v128.or(low, v128.andnot(flag, v128.load(pruned(j + k))));
      high = v128.or(high, v128.andnot(flag, v128.load(pruned(j + k), 16)));
    }
    v128.store(spare(0), low);
    v128.store(spare(0), high, 16);
    const covered: u32 = (count == 32 ? ~0 : ((<u32>1) << count) - 1) << bit;
    for (let r: u32 = 0; r < rows; r++) {
      const word = mask + r * stride + (<usize>(column >> 5) << 2);
      store<u32>(word, (load<u32>(word) & ~covered) | load<u32>(spare(0) + (<usize>r << 2)));
    }
    j += count;
  }
}
