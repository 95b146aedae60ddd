/** Rotary position embedding of queries or keys (Su et al., arXiv 2104.09864), in the rotate-half form of transformers. */

import { defineKernel, linearGrid } from "./kernel.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/rotary.wgsl" with { type: "text" };

/**
 * In place: x[offset + r·ld + h·head_dim + i] and the element `pairs` after it, for r < rows, h < heads, i < pairs, are turned as a pair by the
 * angle of row r's token, r mod tokens. `table` (tokens, 2·pairs) holds the angles' cosines, then their sines, of each token.
 * Dimensions 2·pairs and on of a head stay.
 */
export const rotary = defineKernel({
  name: "rotary",
  bindings: { table: "read", x: "read_write" },
  params: {
    rows: "u32",
    tokens: "u32",
    heads: "u32",
    head_dim: "u32",
    pairs: "u32",
    offset: "u32",
    ld: "u32",
  },
  shader: {
    code: shared + code,
    entryPoint: "rotary",
    grid: (p) => linearGrid(p.rows * p.heads * p.pairs, 256),
  },
});
