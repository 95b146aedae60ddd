// The CPU twin of shaders/kl_divergence.wgsl: the Kullback–Leibler divergence of each row of logits from the same row
// of the reference. A work item is some whole rows.

import { KlDivergenceArgs } from "./args";
import { row_exp_sum, row_max, sum_exponentials } from "./cross_entropy";
import { log_f64 } from "./shared/exp";

export const ELEMENTS_PER_ITEM: u32 = 1 << 14;

export function kl_divergence_rows(args: KlDivergenceArgs, first: u32, end: u32): void {
  const cols = args.cols, ld = args.ld;
  for (let r = first; r < end; r++) {
    const at = <usize>(r * ld) << 2, reference = args.reference + at, logits = args.logits + at;
    const largest = row_max(reference, cols), largestOther = row_max(logits, cols);
    const sum = row_exp_sum(reference, cols, largest), otherSum = row_exp_sum(logits, cols, largestOther);
    const difference = sum_exponentials(true, reference, logits, cols, largest, largestOther) / sum;
    store<f32>(args.divergence + (<usize>r << 2), <f32>(difference + log_f64(otherSum) - log_f64(sum)));
  }
}
