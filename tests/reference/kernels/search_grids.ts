import { eachElement, type Reference } from "../kernel_reference.ts";
import { candidatesOf, errorOfGrid, type SearchOptions } from "../quantization.ts";

function optionsOf(p: Readonly<Record<string, number>>): SearchOptions {
  return { bits: Math.log2(p.max_code + 1), symmetric: p.symmetric === 1, scaleDtype: p.scale_dtype };
}

export const grid_errors: Reference = ({ w, importance, scales, zeros, errors }, p) =>
  eachElement(p.rows, 16, (r, n) => {
    const row = p.row0 + r, options = optionsOf(p);
    const candidate = candidatesOf({ scale: scales[row], zero: zeros[row] }, p.stage, options)[n];
    const columns = Array.from({ length: p.cols }, (_, c) => c);
    const weights = columns.map((c) => w[r * p.ld + c]),
      factors = columns.map((c) => importance[p.first + c]);
    errors[row * 16 + n] += errorOfGrid(weights, factors, candidate, options.bits);
  });

export const choose_grids: Reference = ({ errors, scales, zeros }, p) => {
  for (let i = 0; i < p.count; i++) {
    const own = Array.from({ length: 16 }, (_, n) => errors[i * 16 + n]);
    const candidates = candidatesOf({ scale: scales[i], zero: zeros[i] }, p.stage, optionsOf(p));
    const { scale, zero } = candidates[own.indexOf(Math.min(...own))];
    scales[i] = scale;
    zeros[i] = zero;
    for (let n = 0; n < 16; n++) errors[i * 16 + n] = 0;
  }
};
