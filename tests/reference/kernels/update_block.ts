import type { Reference } from "../kernel_reference.ts";
import { keysOf } from "../selection.ts";

export const update_block: Reference = ({ a, u, w, scale, forced, work, keys, digits }, p) => {
  for (let r = 0; r < p.rows; r++) {
    const row = p.row0 + r;
    for (let c = 0; c < p.cols; c++) {
      let sum = w[p.w_offset + r * p.ldw + c];
      for (let i = 0; i < p.depth; i++) {
        sum += a[p.a_offset + r * p.lda + i] * u[p.u_offset + i * p.ldu + c];
      }
      work[row * p.ldwork + c] = sum;
    }
    const operands = { x: work.subarray(p.row0 * p.ldwork), scale, forced };
    keysOf(operands, { ...p, ld: p.ldwork }, r).forEach((key, c) => {
      keys[row * p.cols + c] = key;
      digits[key >>> 21]++;
    });
  }
};
