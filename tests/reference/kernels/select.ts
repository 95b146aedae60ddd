import type { Reference } from "../kernel_reference.ts";

export const select_digit: Reference = ({ histogram, selection }, p) => {
  if (p.level === 0) selection.set([0, p.k]);
  let digit = 0, smaller = 0;
  while (smaller + histogram[digit] < selection[1]) smaller += histogram[digit++];
  selection[0] += digit * 2 ** (24 - 8 * p.level);
  selection[1] -= smaller;
  histogram.fill(0);
};

export const rank_ties: Reference = ({ selection }, p) => {
  let before = 0;
  for (let r = 0; r < p.rows; r++) {
    const ties = selection[2 + r];
    selection[2 + r] = Math.max(0, Math.min(ties, selection[1] - before));
    before += ties;
  }
};
