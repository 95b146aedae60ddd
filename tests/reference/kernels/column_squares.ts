import { eachElement, type Reference } from "../kernel_reference.ts";

export const column_squares: Reference = ({ x, sums }, p) =>
  eachElement(p.rows, p.cols, (r, c) => sums[c] += x[p.x_offset + r * p.ldx + c] ** 2);
