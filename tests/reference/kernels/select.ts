import type { Reference } from "../kernel_reference.ts";
import { addToHistogram, keysOf } from "../selection.ts";

export const score_keys: Reference = (buffers, p) => {
  const { work, scale, forced, keys } = buffers;
  for (let r = 0; r < p.rows; r++) {
    keysOf({ x: work, scale, forced }, p, r).forEach((key, c) => keys[r * p.cols + c] = key);
  }
};

export const key_histogram: Reference = ({ keys, selection, histogram }, p) =>
  addToHistogram(histogram, [...keys.subarray(0, p.count)], selection[0], p.level);

export const select_digit: Reference = ({ histogram, selection }, p) => {
  if (p.level === 0) selection.set([0, p.k]);
  let digit = 0, smaller = 0;
  while (smaller + histogram[digit] < selection[1]) smaller += histogram[digit++];
  selection[0] += digit * 2 ** (24 - 8 * p.level);
  selection[1] -= smaller;
  histogram.fill(0);
};

export const count_ties: Reference = ({ keys, selection }, p) => {
  for (let r = 0; r < p.rows; r++) {
    const ties = keys.subarray(r * p.cols, (r + 1) * p.cols).filter((key) => key === selection[0]).length;
    selection[2 + r] = ties + (p.accumulate ? selection[2 + r] : 0);
  }
};

export const rank_ties: Reference = ({ selection }, p) => {
  let before = 0;
  for (let r = 0; r < p.rows; r++) {
    const ties = selection[2 + r];
    selection[2 + r] = Math.max(0, Math.min(ties, selection[1] - before));
    before += ties;
  }
};
