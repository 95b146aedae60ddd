// A bundle is eight rows of a block of columns, stored column by column in the scratch. A column of a bundle is 32
// bytes: one 32-bit element of each of the eight rows. So a lane holds one row, and the loop over the columns needs no
// branches. There are four bundles: weights, errors, flags, and a temporary one. The scratch also holds a packed copy
// of the triangular factor U, in panels of the columns that are swept together.
//
// This file defines the layout of the scratch, and moves rows to bundles and back. column_loop.ts computes.

import { round_up } from "./items";
import { scratch } from "./instance";
import { transpose_4x4 } from "./lanes";

export const BUNDLE_ROWS: u32 = 8;
export const COLUMN_BYTES: usize = 32;
// MAX_BLOCK_SIZE of src/device/kernels/column_loop.ts, plus the columns by which the last panel may be padded.
const MAX_COLUMNS: usize = 256 + 4;
const BUNDLE_BYTES: usize = MAX_COLUMNS * COLUMN_BYTES;

// The address of column j of the weights. Sweeping a column replaces its updated weights by Q.
@inline export function weights(j: u32): usize {
  return scratch() + j * COLUMN_BYTES;
}

// The address of column j of the errors. An error is (w − q)/U[j,j], where w is a weight and q its pruned value.
@inline export function errors(j: u32): usize {
  return scratch() + BUNDLE_BYTES + j * COLUMN_BYTES;
}

// The address of column j of the flags. A flag has all bits set if the entry is pruned, and none otherwise.
@inline export function pruned(j: u32): usize {
  return scratch() + 2 * BUNDLE_BYTES + j * COLUMN_BYTES;
}

// The address of column j of the temporary bundle.
@inline export function temporary(j: u32): usize {
  return scratch() + 3 * BUNDLE_BYTES + j * COLUMN_BYTES;
}

// The address of 1/U[j,j].
@inline export function reciprocal(j: u32): usize {
  return scratch() + 4 * BUNDLE_BYTES + (<usize>j << 2);
}

// The address of the scales of the eight rows' grids, to which quantize_block.ts rounds.
@inline export function row_scales(): usize {
  return reciprocal(<u32>MAX_COLUMNS);
}

// The address of the zeros of the eight rows' grids. A zero is the code of the weight 0, and lies between two codes if 0 is not a
// value of the grid.
@inline export function row_zeros(): usize {
  return row_scales() + COLUMN_BYTES;
}

// The address of the factors of the eight rows. Scales with two levels are multiples of these factors.
@inline export function row_factors(): usize {
  return row_zeros() + COLUMN_BYTES;
}

// The address of the offsets of the eight rows' grids, by which their values lie below the multiples of their scales.
@inline export function row_offsets(): usize {
  return row_factors() + COLUMN_BYTES;
}

// The address of the flags of the eight rows' grids. A flag has all bits set if the grid need not contain 0.
@inline export function row_free(): usize {
  return row_offsets() + COLUMN_BYTES;
}

// The address of the packed columns start … start+width−1 of U, where U has `size` columns and is packed in panels of
// `width`. A row of a panel is padded to a multiple of 4 elements. Only the strictly upper part of U is packed.
@inline export function panel_of_u(size: u32, width: u32, start: u32): usize {
  return scratch() + 5 * BUNDLE_BYTES + (<usize>(start / width * size * round_up(width, 4)) << 2);
}

// Packs the rows of U that each panel needs, with zeros on and below the diagonal and in the padding. Also stores the
// reciprocals of the diagonal.
export function pack_u(u: usize, stride: usize, size: u32, width: u32): void {
  for (let j: u32 = 0; j < size; j++) store<f32>(reciprocal(j), 1 / load<f32>(u + j * (stride + 4)));
  for (let start: u32 = 0; start < size; start += width) {
    const end = min<u32>(start + width, size);
    let target = panel_of_u(size, width, start);
    for (let j: u32 = 0; j < end; j++) {
      const row = u + j * stride;
      for (let c = start; c < start + round_up(width, 4); c += 4) {
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

// Loads `rows` ≤ 8 rows of `cols` 32-bit elements into the bundle at `target`. Rows past `rows` become zeros.
export function load_bundle(source: usize, stride: usize, rows: u32, cols: u32, target: usize): void {
  for (let r: u32 = 0; r < BUNDLE_ROWS; r += 4) {
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

// Stores the first `rows` rows of the bundle at `source` as rows of `target`. This is the inverse of `load_bundle`.
export function store_bundle(source: usize, rows: u32, cols: u32, target: usize, stride: usize): void {
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

// Writes the mask bits of the bundle: 1 where an entry is kept and 0 where it is pruned. `mask` points to the first
// mask word of the bundle's first row, `stride` is the bytes between mask rows, and `first` is the matrix column of the
// block's first column.
export function store_mask(mask: usize, stride: usize, rows: u32, first: u32, size: u32): void {
  let j: u32 = 0;
  while (j < size) {
    const column = first + j, bit = column & 31;
    const count = min<u32>(32 - bit, size - j);
    // Each column puts its bit at the top of the word, and shifts down the bits of the columns before it.
    let low = i32x4.splat(0), high = low;
    const top = i32x4.splat(1 << 31);
    for (let k: u32 = 0; k < count; k++) {
      low = v128.or(i32x4.shr_u(low, 1), v128.andnot(top, v128.load(pruned(j + k))));
      high = v128.or(i32x4.shr_u(high, 1), v128.andnot(top, v128.load(pruned(j + k), 16)));
    }
    low = i32x4.shr_u(low, 32 - count - bit);
    high = i32x4.shr_u(high, 32 - count - bit);
    v128.store(temporary(0), low);
    v128.store(temporary(0), high, 16);
    const covered: u32 = (count == 32 ? ~0 : ((<u32>1) << count) - 1) << bit;
    for (let r: u32 = 0; r < rows; r++) {
      const word = mask + r * stride + (<usize>(column >> 5) << 2);
      store<u32>(word, (load<u32>(word) & ~covered) | load<u32>(temporary(0) + (<usize>r << 2)));
    }
    j += count;
  }
}
