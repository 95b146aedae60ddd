import { eachElement, type Reference } from "../kernel_reference.ts";

export const copy2d: Reference = ({ source, target }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    target[p.target_offset + r * p.target_ld + c] = source[p.source_offset + r * p.source_ld + c];
  });
