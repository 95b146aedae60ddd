/** Spreads rows of a packed upper triangle into a tile. */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/unpack_upper.wgsl" with { type: "text" };

/**
 * `source`: `rows` consecutive rows of a row-major packed upper triangle of order n, the first being matrix row `first_row`; row i has
 * its elements j = i … n−1. For r < rows and c < cols with j = first_col + c ≥ i = first_row + r:
 * target[target_offset + r·ld + c] ← element (i, j). Others are left as they are. The strip must hold under 2³² elements.
 */
export const unpackUpper = defineKernel({
  name: "unpack_upper",
  bindings: { source: "read", target: "read_write" },
  params: {
    n: "u32",
    rows: "u32",
    cols: "u32",
    first_row: "u32",
    first_col: "u32",
    target_offset: "u32",
    ld: "u32",
  },
  shader: { code: shared + code, entryPoint: "unpack_upper", grid: (p) => linearGrid(p.rows * p.cols, 256) },
});
