// The CPU twin of shaders/causal_convolution.wgsl. A work item is some whole rows of y.

import { CausalConvolutionArgs } from "./args";
import { row_items, rows_per_item } from "./shared/items";

const ELEMENTS_PER_ITEM: u32 = 1 << 13;

export function causal_convolution_items(args: CausalConvolutionArgs): u32 {
  return row_items(args.batch * args.tokens, args.heads * args.head_dim, ELEMENTS_PER_ITEM);
}

export function causal_convolution(args: CausalConvolutionArgs, item: u32): void {
  const rows = args.batch * args.tokens, tokens = args.tokens, past = args.past, taps = args.taps;
  const heads = args.heads, dim = args.head_dim, stride = <usize>args.ldx << 2;
  const step = rows_per_item(heads * dim, ELEMENTS_PER_ITEM);
  const first = item * step, end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const token = past + r % tokens, row = r / tokens * (past + tokens) + token;
    const x = args.x + (<usize>args.offset << 2) + <usize>row * stride;
    const y = args.y + (<usize>r * <usize>args.ldy + <usize>args.first << 2);
    const ages = min<u32>(taps, token + 1);
    for (let h: u32 = 0; h < heads; h++) {
      const source = x + (<usize>(h * args.head_stride) << 2);
      for (let d: u32 = 0; d < dim; d++) {
        const c = h * dim + d;
        const newest = args.weight + (<usize>(args.first + c) * <usize>taps + <usize>taps - 1 << 2);
        let sum: f32 = 0;
        for (let age: u32 = 0; age < ages; age++) {
          sum += load<f32>(newest - (<usize>age << 2)) * load<f32>(source + (<usize>d << 2) - <usize>age * stride);
        }
        store<f32>(y + (<usize>c << 2), sum);
      }
    }
  }
}
