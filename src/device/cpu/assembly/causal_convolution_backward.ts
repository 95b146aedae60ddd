// The CPU twin of shaders/causal_convolution_backward.wgsl. A work item is some whole rows of x.

import { CausalConvolutionBackwardArgs } from "./args";
import { row_items, rows_per_item } from "./shared/items";

const ELEMENTS_PER_ITEM: u32 = 1 << 13;

export function causal_convolution_backward_items(args: CausalConvolutionBackwardArgs): u32 {
  return row_items(args.batch * args.tokens, args.heads * args.head_dim, ELEMENTS_PER_ITEM);
}

export function causal_convolution_backward(args: CausalConvolutionBackwardArgs, item: u32): void {
  const rows = args.batch * args.tokens, tokens = args.tokens, taps = args.taps;
  const heads = args.heads, dim = args.head_dim, stride = <usize>args.ldy << 2;
  const step = rows_per_item(heads * dim, ELEMENTS_PER_ITEM);
  const first = item * step, end = min<u32>(rows, first + step);
  for (let r = first; r < end; r++) {
    const x = args.x_gradient + (<usize>args.offset + <usize>r * <usize>args.ldx << 2);
    const y = args.gradient + (<usize>r * <usize>args.ldy + <usize>args.first << 2);
    const ages = min<u32>(taps, tokens - r % tokens);
    for (let h: u32 = 0; h < heads; h++) {
      const target = x + (<usize>(h * args.head_stride) << 2);
      for (let d: u32 = 0; d < dim; d++) {
        const c = h * dim + d, at = target + (<usize>d << 2);
        const last = args.weight + (<usize>(args.first + c) * <usize>taps + <usize>taps - 1 << 2);
        let sum: f32 = 0;
        for (let age: u32 = 0; age < ages; age++) {
          sum += load<f32>(last - (<usize>age << 2)) * load<f32>(y + (<usize>c << 2) + <usize>age * stride);
        }
        store<f32>(at, load<f32>(at) + sum);
      }
    }
  }
}
