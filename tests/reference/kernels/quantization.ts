import { eachElement, type Reference } from "../kernel_reference.ts";
import { gridOf } from "../quantization.ts";

export const row_extremes: Reference = ({ w, lows, highs }, p) =>
  eachElement(p.rows, p.cols, (r, c) => {
    lows[p.row0 + r] = Math.min(lows[p.row0 + r], w[r * p.ld + c]);
    highs[p.row0 + r] = Math.max(highs[p.row0 + r], w[r * p.ld + c]);
  });

export const fit_grids: Reference = ({ ranges, scales, zeros }, p) => {
  for (let i = 0; i < p.count; i++) {
    const weights = [ranges[i] * scales[i], ranges[i] * zeros[i]];
    const grid = gridOf(weights, Math.log2(p.max_code + 1), p.symmetric === 1);
    // A scale that is too small for a normal f32 is the grid of weights that are all 0.
    const { scale, zero } = grid.scale < 2 ** -126
      ? gridOf([], Math.log2(p.max_code + 1), p.symmetric === 1)
      : grid;
    scales[i] = scale;
    zeros[i] = zero;
  }
};

export const encode_codes: Reference = ({ q, scales, zeros, codes }, p) => {
  const bytes = new Uint8Array(4 * Math.ceil(p.count / 4));
  for (let i = 0; i < p.count; i++) {
    const group = p.grid_size ? Math.floor(i % p.cols / p.grid_size) : 0;
    const grid = (p.row0 + Math.floor(i / p.cols)) * p.grids + group;
    bytes[i] = Math.round(q[p.q_offset + i] / scales[grid]) + zeros[grid];
  }
  codes.set(new Uint32Array(bytes.buffer));
};
