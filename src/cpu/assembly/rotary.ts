// Twin of shaders/rotary.wgsl. An item is some whole rows.

import { pointer, u32At } from "./args";
import { row_items, rows_per_item } from "./items";

const PAIRS_PER_ITEM: u32 = 1 << 14;

export function rotary_items(args: usize): i32 {
  return row_items(u32At(args, 2), u32At(args, 4) * u32At(args, 6), PAIRS_PER_ITEM);
}

export function rotary(args: usize, item: i32): void {
  const rows = u32At(args, 2), tokens = u32At(args, 3), heads = u32At(args, 4), headDim = u32At(args, 5), pairs = u32At(args, 6);
  const step = rows_per_item(heads * pairs, PAIRS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const cosines = pointer(args, 0) + (<usize>(r % tokens * 2 * pairs) << 2);
    const row = pointer(args, 1) + (<usize>u32At(args, 7) + <usize>r * <usize>u32At(args, 8) << 2);
    for (let h: u32 = 0; h < heads; h++) turn(row + (<usize>(h * headDim) << 2), cosines, pairs);
  }
}

// One head of one row. `cosines` are followed by the sines.
function turn(x: usize, cosines: usize, pairs: u32): void {
  const second = x + (<usize>pairs << 2), sines = cosines + (<usize>pairs << 2);
  let i: usize = 0;
  const end = <usize>pairs << 2;
  for (; i + 16 <= end; i += 16) {
    const a = v128.load(x + i), b = v128.load(second + i), cosine = v128.load(cosines + i), sine = v128.load(sines + i);
    v128.store(x + i, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
    v128.store(second + i, f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine)));
  }
  for (; i < end; i += 4) {
    const a = load<f32>(x + i), b = load<f32>(second + i), cosine = load<f32>(cosines + i), sine = load<f32>(sines + i);
    store<f32>(x + i, a * cosine - b * sine);
    store<f32>(second + i, b * cosine + a * sine);
  }
}
