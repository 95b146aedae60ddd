import { eachElement, type Reference } from "../kernel_reference.ts";

export const zero_columns: Reference = ({ dead, w }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    if (dead[p.first + c]) w[r * p.ld + c] = 0;
  });
