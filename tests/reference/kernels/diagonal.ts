import { eachElement, type Reference } from "../kernel_reference.ts";

export const get_diagonal: Reference = ({ tile, diagonal }, p) => {
  for (let i = 0; i < p.count; i++) diagonal[p.first + i] = tile[(p.row + i) * p.ld + p.col + i];
};

export const set_diagonal: Reference = ({ tile, diagonal }, p) => {
  for (let i = 0; i < p.count; i++) tile[i * p.ld + i] = diagonal[p.first + i];
};

export const mirror_upper: Reference = ({ tile }, p) =>
  eachElement(p.size, p.size, (i, j) => {
    if (i < j) tile[j * p.ld + i] = tile[i * p.ld + j];
  });
