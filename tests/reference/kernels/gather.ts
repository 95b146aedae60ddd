import { bitOf, eachElement, type Reference, setBit } from "../kernel_reference.ts";

export const gather_columns: Reference = ({ source, order, target }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const s = order[p.first + c] - p.source_first;
    if (s >= 0 && s < p.source_cols) target[r * p.target_ld + c] = source[r * p.source_ld + s];
  });

export const gather_symmetric: Reference = ({ source, order, target }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const [i, j] = [order[p.row0 + r], order[p.first + c]].toSorted((a, b) => a - b);
    const row = i - p.source_row0, col = j - p.source_first;
    if (row < 0 || row >= p.source_rows || col < 0 || col >= p.source_cols) return;
    target[r * p.target_ld + c] = source[row * p.source_ld + col];
  });

export const gather_bits: Reference = ({ source, order, target }, p) =>
  eachElement(p.rows, 32 * p.words, (r, c) => {
    setBit(target, p.words, r, c, c < p.cols && bitOf(source, p.words, r, order[c]) === 1);
  });
