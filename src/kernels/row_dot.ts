/** Row-wise dot products, accumulated: squared norms when both operands are the same matrix. */

import { defineKernel } from "./kernel.ts";
import { loop, sequence } from "./loop_count.ts";
import code from "../../shaders/row_dot.wgsl" with { type: "text" };

/** Invocations of a workgroup: SIZE of shaders/row_dot.wgsl. */
const SIZE = 64;

/** sums[sums_offset + r·sums_stride] += scale·Σ_c x[x_offset + r·ldx + c]·y[y_offset + r·ldy + c], for r < rows, c < cols. */
export const rowDot = defineKernel({
  name: "row_dot",
  bindings: { x: "read", y: "read", sums: "read_write" },
  params: {
    rows: "u32",
    cols: "u32",
    x_offset: "u32",
    ldx: "u32",
    y_offset: "u32",
    ldy: "u32",
    sums_offset: "u32",
    sums_stride: "u32",
    scale: "f32",
  },
  shader: {
    code,
    entryPoint: "row_dot",
    grid: (p) => [p.rows > 65535 ? 65535 : p.rows, Math.ceil(p.rows / 65535), 1],
    loops: (p) => sequence(loop(Math.ceil(p.cols / SIZE)), loop(Math.log2(SIZE))),
  },
});
