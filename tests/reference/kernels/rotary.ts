import { eachElement, type Reference } from "../kernel_reference.ts";

export const rotary: Reference = ({ table, x }, p) =>
  eachElement(p.rows, p.heads * p.pairs, (r, at) => {
    const i = at % p.pairs, first = p.offset + r * p.ld + Math.floor(at / p.pairs) * p.head_stride + i;
    const angles = r % p.tokens * 2 * p.pairs,
      cosine = table[angles + i],
      sine = table[angles + p.pairs + i];
    const [a, b] = [x[first], x[first + p.pairs]];
    x[first] = a * cosine - b * sine;
    x[first + p.pairs] = b * cosine + a * sine;
  });
