/**
 * Rotary position embedding of queries or keys (Su et al., arXiv 2104.09864). It rotates pairs of elements of each head
 * by angles that depend on the token's position. As in the transformers library, the two elements of a pair lie half of
 * the rotated dimensions apart.
 */

import { defineKernel, linearGrid } from "../kernel.ts";
import { signed } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/rotary.wgsl" with { type: "text" };

/**
 * In place, for r < rows, h < heads and i < pairs: rotates the point whose coordinates are the element x[offset + r·ld
 * + h·head_stride + i] and the element `pairs` positions after it, by the angle of pair i for token r mod tokens. Row t
 * of `table`, (tokens, 2·pairs) f32, has the cosines of all angles of token t, followed by their sines. The dimensions
 * of a head from 2·pairs on do not change.
 */
export const rotary = defineKernel({
  name: "rotary",
  bindings: { table: "read", x: "read_write" },
  params: {
    rows: "u32",
    tokens: "u32",
    heads: "u32",
    head_stride: "u32",
    pairs: "u32",
    offset: "u32",
    ld: "u32",
  },
  shader: {
    code: shared + code,
    entryPoint: "rotary",
    grid: (p) => linearGrid(p.rows * p.heads * p.pairs, 256),
  },
  cases:
    () => [rotaryCase({ rows: 26, tokens: 13, heads: 3, head_stride: 24, pairs: 10, offset: 5, ld: 80 })],
});

/** A case with random numbers in place of cosines and sines. */
export function rotaryCase(
  params: Readonly<Record<"rows" | "tokens" | "heads" | "head_stride" | "pairs" | "offset" | "ld", number>>,
) {
  const { rows, tokens, pairs, offset, ld } = params;
  return {
    params,
    buffers: () => ({ table: signed(tokens * 2 * pairs, 429), x: signed(offset + rows * ld, 430) }),
    roundings: { x: 3 },
  };
}
