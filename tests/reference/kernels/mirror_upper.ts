import { eachElement, type Reference } from "../kernel_reference.ts";

export const mirror_upper: Reference = ({ tile }, p) =>
  eachElement(p.size, p.size, (i, j) => {
    if (i < j) tile[j * p.ld + i] = tile[i * p.ld + j];
  });
