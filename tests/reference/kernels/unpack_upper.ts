import type { Reference } from "../kernel_reference.ts";

export const unpack_upper: Reference = ({ source, target }, p) => {
  let at = 0;
  for (let i = p.first_row; i < p.first_row + p.rows; i++) {
    for (let j = i; j < p.n; j++, at++) {
      const c = j - p.first_col;
      if (c >= 0 && c < p.cols) target[p.target_offset + (i - p.first_row) * p.ld + c] = source[at];
    }
  }
};
