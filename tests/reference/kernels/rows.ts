import { eachElement, type Reference } from "../kernel_reference.ts";

export const gather_rows: Reference = ({ x, index, y }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    y[r * p.cols + c] = x[index[p.offset + r] * p.cols + c];
  });

export const add_rows: Reference = ({ x, index, factors, y }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const [row, factor] = p.has_index ? [index[p.offset + r], p.scale * factors[p.offset + r]] : [r, p.scale];
    y[row * p.cols + c] += factor * x[r * p.cols + c];
  });
