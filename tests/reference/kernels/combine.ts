import { bitOf, eachElement, type Reference } from "../kernel_reference.ts";

export const masked_combine: Reference = ({ x, mask, y }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const i = r * p.ld + c, isKept = bitOf(mask, p.words, p.row0 + r, p.first + c) === 1;
    y[i] = isKept ? p.kept_x * x[i] + p.kept_y * y[i] : p.pruned_x * x[i] + p.pruned_y * y[i];
  });

export const scale_tile: Reference = ({ left, right, x }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    x[r * p.ld + c] *= (p.has_left ? left[p.row0 + r] : 1) * right[p.first + c];
  });
