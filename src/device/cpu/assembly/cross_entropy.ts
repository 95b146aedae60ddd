// The CPU twin of shaders/cross_entropy.wgsl: the loss log Σ exp(x) − x[target] of each row of logits. A row has one
// element for each token of the vocabulary, and that is too many to be summed in f32. So runs of 128 elements are
// summed in f32, and the sums of the runs are added in f64. A work item is some whole rows.

import { CrossEntropyArgs } from "./args";
import { exp4, log_f64 } from "./shared/exp";
import { fold_to_f64, load_lanes, max_lane, sum_lanes_f64 } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;
// The number of elements that are summed in f32 before their sum is added in f64.
const RUN: u32 = 128;

export function cross_entropy_rows(args: CrossEntropyArgs, first: u32, end: u32): void {
  const cols = args.cols, ld = args.ld;
  for (let r = first; r < end; r++) {
    const row = args.logits + (<usize>(r * ld) << 2);
    const target = load<f32>(row + (<usize>load<u32>(args.targets + (<usize>r << 2)) << 2));
    const largest = row_max(row, cols);
    const loss = log_f64(row_exp_sum(row, cols, largest)) + (<f64>largest - <f64>target);
    store<f32>(args.loss + (<usize>r << 2), <f32>loss);
  }
}

export function row_max(row: usize, cols: u32): f32 {
  let largest4 = f32x4.splat(-f32.MAX_VALUE);
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) largest4 = f32x4.pmax(largest4, v128.load(row + (<usize>c << 2)));
  let largest = max_lane(largest4);
  for (; c < cols; c++) largest = max<f32>(largest, load<f32>(row + (<usize>c << 2)));
  return largest;
}

// Σ exp(x − largest) over the row.
export function row_exp_sum(row: usize, cols: u32, largest: f32): f64 {
  return sum_exponentials(false, row, row, cols, largest, largest);
}

// Σ exp(x − largestX) over a row x or, with `weighted`, Σ exp(x − largestX)·((x − largestX) − (y − largestY)) over two rows.
@inline export function sum_exponentials(weighted: bool, x: usize, y: usize, cols: u32, largestX: f32, largestY: f32): f64 {
  const subtractX = f32x4.splat(largestX), subtractY = f32x4.splat(largestY), ends = cols & ~3;
  let sums = f64x2.splat(0), c: u32 = 0;
  while (c < ends) {
    const end = min<u32>(ends, c + RUN);
    let runSums = f32x4.splat(0);
    for (; c < end; c += 4) {
      const at = <usize>c << 2;
      runSums = f32x4.add(runSums, exponential_term(weighted, x + at, y + at, subtractX, subtractY, false));
    }
    sums = f64x2.add(sums, fold_to_f64(runSums));
  }
  let sum = sum_lanes_f64(sums);
  for (; c < cols; c++) {
    const at = <usize>c << 2;
    sum += f32x4.extract_lane(exponential_term(weighted, x + at, y + at, subtractX, subtractY, true), 0);
  }
  return sum;
}

@inline function exponential_term(weighted: bool, x: usize, y: usize, subtractX: v128, subtractY: v128, isSingle: bool): v128 {
  const x4 = f32x4.sub(load_lanes(x, isSingle), subtractX), power = exp4(x4);
  return weighted ? f32x4.mul(power, f32x4.sub(x4, f32x4.sub(load_lanes(y, isSingle), subtractY))) : power;
}
