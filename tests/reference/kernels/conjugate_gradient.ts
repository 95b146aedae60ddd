import { bitOf, eachElement, type Params, type Reference } from "../kernel_reference.ts";

/** The quotient of two sums of row r of a tile, or 0 if the denominator is not positive. */
function quotient(sums: ArrayLike<number>, p: Params, r: number): number {
  const at = (p.row0 + r) * p.stride, denominator = sums[at + p.denominator];
  return denominator > 0 ? sums[at + p.numerator] / denominator : 0;
}

export const cg_step: Reference = ({ p: direction, ap, mask, sums, q, r: residual }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const i = r * p.ld + c, a = quotient(sums, p, r);
    q[i] += a * direction[i];
    residual[i] = bitOf(mask, p.words, p.row0 + r, p.first + c) ? residual[i] - a * ap[i] : 0;
  });

export const cg_direction: Reference = ({ r: residual, sums, p: direction }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    const i = r * p.ld + c;
    direction[i] = residual[i] + quotient(sums, p, r) * direction[i];
  });
