import { eachElement, type Reference } from "../kernel_reference.ts";

export const check_finite: Reference = ({ x, first }, p) => {
  const limit = new Float32Array(Uint32Array.of(p.limit).buffer)[0];
  const elements = Array.from(
    { length: p.count },
    (_, i) => x[p.offset + Math.floor(i / p.cols) * p.ld + i % p.cols],
  );
  const found = elements.findIndex((value) => !(Math.abs(value) < limit));
  if (found >= 0) first[p.slot] = Math.min(first[p.slot], found);
};

export const check_symmetry: Reference = ({ strip, upper, diagonal, first }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const i = p.row0 + r, j = p.col0 + c;
    if (i <= j) return;
    const difference = Math.abs(strip[r * p.ldstrip + j] - upper[c * p.ldupper + i - p.tile_col0]);
    if (difference > p.tolerance * Math.sqrt(diagonal[i] * diagonal[j])) {
      first[p.slot] = Math.min(first[p.slot], r * p.ldstrip + j);
    }
  });
