// Twin of shaders/diagonal.wgsl. The diagonals are one item each; an item of mirror_upper is some whole rows of the lower triangle.

import { pointer, u32At } from "./args";
import { ceil_divide } from "./items";
import { transpose_4x4 } from "./transpose";

// Rows of the lower triangle to an item, and the edge of the blocks it is transposed by: one cache line of f32.
const EDGE: u32 = 16;

export function get_diagonal_items(args: usize): i32 {
  return u32At(args, 2) > 0 ? 1 : 0;
}

export function get_diagonal(args: usize, _item: i32): void {
  const count = u32At(args, 2), ld = u32At(args, 5);
  let source = pointer(args, 0) + (<usize>(u32At(args, 3) * ld + u32At(args, 4)) << 2);
  const target = pointer(args, 1) + (<usize>u32At(args, 6) << 2);
  for (let i: u32 = 0; i < count; i++) {
    store<f32>(target + (<usize>i << 2), load<f32>(source));
    source += (<usize>ld + 1) << 2;
  }
}

export function set_diagonal_items(args: usize): i32 {
  return u32At(args, 2) > 0 ? 1 : 0;
}

export function set_diagonal(args: usize, _item: i32): void {
  const count = u32At(args, 2), ld = u32At(args, 3);
  const source = pointer(args, 0) + (<usize>u32At(args, 4) << 2);
  let target = pointer(args, 1);
  for (let i: u32 = 0; i < count; i++) {
    store<f32>(target, load<f32>(source + (<usize>i << 2)));
    target += (<usize>ld + 1) << 2;
  }
}

export function mirror_upper_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, 1), EDGE);
}

export function mirror_upper(args: usize, item: i32): void {
  const tile = pointer(args, 0), size = u32At(args, 1);
  const stride = <usize>u32At(args, 2) << 2;
  const first = <u32>item * EDGE;
  const end = min<u32>(size, first + EDGE);
  for (let left: u32 = 0; left < first; left += EDGE) mirror_block(tile, stride, left, left + EDGE, first, end);
  // On the diagonal itself source and target are one block.
  for (let j = first; j < end; j++) mirror_elements(tile, stride, first, j, j);
}

// Rows bottom … bottomEnd−1, columns left … leftEnd−1 of the lower triangle; the columns come in fours.
function mirror_block(tile: usize, stride: usize, left: u32, leftEnd: u32, bottom: u32, bottomEnd: u32): void {
  let j = bottom;
  for (; j + 4 <= bottomEnd; j += 4) {
    for (let i = left; i < leftEnd; i += 4) {
      transpose_4x4(tile + i * stride + (<usize>j << 2), stride, tile + j * stride + (<usize>i << 2), stride);
    }
  }
  for (; j < bottomEnd; j++) mirror_elements(tile, stride, left, leftEnd, j);
}

// Row j, columns left … leftEnd−1.
function mirror_elements(tile: usize, stride: usize, left: u32, leftEnd: u32, j: u32): void {
  for (let i = left; i < leftEnd; i++) {
    store<u32>(tile + j * stride + (<usize>i << 2), load<u32>(tile + i * stride + (<usize>j << 2)));
  }
}
