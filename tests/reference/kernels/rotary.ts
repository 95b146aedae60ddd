import { eachElement, type Reference } from "../kernel_reference.ts";

export const rotary: Reference = ({ table, x }, p) =>
  eachElement(p.rows, p.heads * p.pairs, (r, at) => {
    const i = at % p.pairs, head = p.offset + r * p.ld + Math.floor(at / p.pairs) * p.head_stride;
    const [first, second] = p.interleaved ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + p.pairs];
    const angles = r % p.tokens * 2 * p.pairs,
      cosine = table[angles + i],
      sine = table[angles + p.pairs + i];
    const [a, b] = [x[first], x[second]];
    x[first] = a * cosine - b * sine;
    x[second] = b * cosine + a * sine;
  });
