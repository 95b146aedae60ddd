import { eachElement, type Reference } from "../kernel_reference.ts";
import { gridOf, startOfSearch } from "../quantization.ts";

export const row_extremes: Reference = ({ w, lows, highs }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    lows[p.row0 + r] = Math.min(lows[p.row0 + r], w[r * p.ld + c]);
    highs[p.row0 + r] = Math.max(highs[p.row0 + r], w[r * p.ld + c]);
  });

export const fit_grids: Reference = ({ scales, zeros }, p) => {
  const options = {
    bits: Math.log2(p.max_code + 1),
    symmetric: p.symmetric === 1,
    scaleDtype: p.scale_dtype,
  };
  const fit = (weights: readonly number[]) =>
    p.searched
      ? startOfSearch(weights, options)
      : gridOf(weights, options.bits, options.symmetric, undefined, { scaleDtype: p.scale_dtype });
  for (let i = 0; i < p.count; i++) {
    const grid = fit([scales[i], zeros[i]]);
    // A scale that is too small for a normal f32 is the grid of weights that are all 0.
    const { scale, zero } = Math.max(-scales[i], zeros[i]) / p.max_code < 2 ** -126 ? fit([]) : grid;
    scales[i] = scale;
    zeros[i] = zero;
  }
};

export const encode_codes: Reference = ({ q, scales, zeros, codes }, p) => {
  const bytes = new Uint8Array(4 * Math.ceil(p.count / 4));
  for (let i = 0; i < p.count; i++) {
    const group = p.grid_size ? Math.floor(i % p.cols / p.grid_size) : 0;
    const grid = (p.row0 + Math.floor(i / p.cols)) * p.grids + group;
    bytes[i] = Math.round(q[p.q_offset + i] / scales[grid] + zeros[grid]);
  }
  codes.set(new Uint32Array(bytes.buffer));
};
