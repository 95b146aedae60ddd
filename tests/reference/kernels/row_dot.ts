import { eachElement, type Reference } from "../kernel_reference.ts";

export const row_dot: Reference = ({ x, y, sums }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    sums[p.sums_offset + r * p.sums_stride] += p.scale * x[p.x_offset + r * p.ldx + c] *
      y[p.y_offset + r * p.ldy + c];
  });
