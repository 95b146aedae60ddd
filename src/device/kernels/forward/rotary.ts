/**
 * Rotary position embedding of queries or keys (Su et al., arXiv 2104.09864). It rotates pairs of elements of each head
 * by angles that depend on the token's position. The two elements of a pair lie half of the rotated dimensions apart, or
 * they are neighbours, which is called interleaved.
 */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { signed } from "../kernel_case.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/rotary.wgsl" with { type: "text" };

/**
 * In place, for r < rows, h < heads and i < pairs: rotates the point with the coordinates head[i] and head[i + pairs], or
 * head[2i] and head[2i + 1] if `interleaved` is 1, by the angle of pair i for token r mod tokens. The first element of
 * `head` is x[offset + r·ld + h·head_stride]. Row t of `table`, (tokens, 2·pairs) f32, has the cosines of all angles of
 * token t, followed by their sines. The dimensions of a head from 2·pairs on do not change.
 */
export const rotary = defineKernel({
  name: "rotary",
  bindings: { table: "read", x: "read_write" },
  params: u32("rows", "tokens", "heads", "head_stride", "pairs", "offset", "ld", "interleaved"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.rows * p.heads * p.pairs, 256) },
  roundedOutput: ({ rows, heads, head_stride, pairs, offset, ld }) =>
    offset === 0 && (heads - 1) * head_stride + 2 * pairs === ld ? rows * ld : 0,
  cases: () => {
    const params = { rows: 26, tokens: 13, heads: 3, head_stride: 24, pairs: 10, offset: 5, ld: 80 };
    return [
      rotaryCase({ ...params, interleaved: 0 }),
      { feature: "interleaved", ...rotaryCase({ ...params, interleaved: 1 }) },
    ];
  },
});

/** A case with random numbers in place of cosines and sines. */
export function rotaryCase(
  params: Readonly<
    Record<"rows" | "tokens" | "heads" | "head_stride" | "pairs" | "offset" | "ld" | "interleaved", number>
  >,
) {
  const { rows, tokens, pairs, offset, ld } = params;
  return {
    params,
    buffers: () => ({ table: signed(tokens * 2 * pairs, 429), x: signed(offset + rows * ld, 430) }),
    roundings: { x: 3 },
  };
}
