// The CPU twin of shaders/rotary.wgsl: rotary position embeddings. A work item is some whole rows.

import { RotaryArgs } from "./args";
import { round_output } from "./shared/float16";
import { row_items, rows_per_item } from "./shared/items";

const PAIRS_PER_ITEM: u32 = 1 << 14;

export function rotary_items(args: RotaryArgs): u32 {
  return row_items(args.rows, args.heads * args.pairs, PAIRS_PER_ITEM);
}

export function rotary(args: RotaryArgs, item: u32): void {
  const rows = args.rows, tokens = args.tokens, heads = args.heads, headStride = args.head_stride, pairs = args.pairs;
  const step = rows_per_item(heads * pairs, PAIRS_PER_ITEM), interleaved = args.interleaved == 1;
  const first = item * step, end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const cosines = args.table + (<usize>(r % tokens * 2 * pairs) << 2);
    const row = args.x + (<usize>args.offset + <usize>r * <usize>args.ld << 2);
    for (let h: u32 = 0; h < heads; h++) {
      const head = row + (<usize>(h * headStride) << 2);
      if (interleaved) rotate_interleaved(head, cosines, pairs);
      else rotate_halves(head, cosines, pairs);
    }
    round_output(args.x, args.x_rounded, args.offset + r * args.ld, (heads - 1) * headStride + 2 * pairs);
  }
}

// Rotates the pairs of one head in one row. A pair is element i and element i + `pairs`. The sines follow the cosines.
function rotate_halves(x: usize, cosines: usize, pairs: u32): void {
  const second = x + (<usize>pairs << 2), sines = cosines + (<usize>pairs << 2);
  let i: usize = 0;
  const end = <usize>pairs << 2;
  for (; i + 16 <= end; i += 16) {
    const a = v128.load(x + i), b = v128.load(second + i), cosine = v128.load(cosines + i), sine = v128.load(sines + i);
    v128.store(x + i, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
    v128.store(second + i, f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine)));
  }
  for (; i < end; i += 4) rotate_pair(x + i, second + i, load<f32>(cosines + i), load<f32>(sines + i));
}

// The same for the pairs of element 2i and element 2i + 1.
function rotate_interleaved(x: usize, cosines: usize, pairs: u32): void {
  const sines = cosines + (<usize>pairs << 2), end = <usize>pairs << 2;
  for (let i: usize = 0; i < end; i += 4) {
    const first = x + 2 * i;
    rotate_pair(first, first + 4, load<f32>(cosines + i), load<f32>(sines + i));
  }
}

function rotate_pair(first: usize, second: usize, cosine: f32, sine: f32): void {
  const a = load<f32>(first), b = load<f32>(second);
  store<f32>(first, a * cosine - b * sine);
  store<f32>(second, b * cosine + a * sine);
}
