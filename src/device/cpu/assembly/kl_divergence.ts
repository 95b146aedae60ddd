// The CPU twin of shaders/kl_divergence.wgsl: the Kullback–Leibler divergence of each row of logits from the same row
// of the reference. A work item is some whole rows.

import { KlDivergenceArgs } from "./args";
import { row_exp_sum, row_max, RUN } from "./cross_entropy";
import { exp4, log_f64 } from "./shared/exp";
import { fold_to_f64, sum_lanes_f64 } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 14;

export function kl_divergence_rows(args: KlDivergenceArgs, first: u32, end: u32): void {
  const cols = args.cols, ld = args.ld;
  for (let r = first; r < end; r++) {
    const at = <usize>(r * ld) << 2, reference = args.reference + at, logits = args.logits + at;
    const largest = row_max(reference, cols), largestOther = row_max(logits, cols);
    const sum = row_exp_sum(reference, cols, largest), otherSum = row_exp_sum(logits, cols, largestOther);
    const difference = row_weighted_difference(reference, logits, cols, largest, largestOther) / sum;
    store<f32>(args.divergence + (<usize>r << 2), <f32>(difference + log_f64(otherSum) - log_f64(sum)));
  }
}

// Σ exp(x − largestX)·((x − largestX) − (y − largestY)) over two rows.
function row_weighted_difference(x: usize, y: usize, cols: u32, largestX: f32, largestY: f32): f64 {
  const subtractX = f32x4.splat(largestX), subtractY = f32x4.splat(largestY);
  let sums = f64x2.splat(0);
  let c: u32 = 0;
  while (c + 4 <= cols) {
    const end = min<u32>(cols & ~3, c + RUN);
    let runSums = f32x4.splat(0);
    for (; c < end; c += 4) {
      const at = <usize>c << 2;
      const x4 = f32x4.sub(v128.load(x + at), subtractX), y4 = f32x4.sub(v128.load(y + at), subtractY);
      runSums = f32x4.add(runSums, f32x4.mul(exp4(x4), f32x4.sub(x4, y4)));
    }
    sums = f64x2.add(sums, fold_to_f64(runSums));
  }
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) {
    const at = <usize>c << 2;
    const x4 = f32x4.sub(v128.load32_splat(x + at), subtractX), y4 = f32x4.sub(v128.load32_splat(y + at), subtractY);
    sum += f32x4.extract_lane(f32x4.mul(exp4(x4), f32x4.sub(x4, y4)), 0);
  }
  return sum;
}
