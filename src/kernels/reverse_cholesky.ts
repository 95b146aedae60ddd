/**
 * Factors one diagonal block, H_kk = R_kk·R_kkᵀ with R_kk upper triangular, from its last column to its
 * first, and inverts it: U_kk = R_kk⁻¹. The blocked factorisation around it is in `linalg`.
 */

import { defineKernel, type ShaderVariant } from "./kernel.ts";
import { loop, type LoopCount, loopOver, sequence } from "./loop_count.ts";
import code from "../../shaders/reverse_cholesky.wgsl" with { type: "text" };

/** STRIP and CHUNK of shaders/reverse_cholesky.wgsl: columns factored together, and coefficient columns staged together. */
const STRIP = 8;
const CHUNK = 32;

/**
 * - `h` (tile): the block at `offset` with leading dimension `ld`, `size`²; only its upper triangle is read.
 *   On return the upper triangle is R_kk and what lies strictly below is 0.
 * - `u`: R_kk⁻¹ at `u_offset` with leading dimension `ldu`, zeros strictly below the diagonal.
 * - `diagonal`: R[j,j] at `first + j`, for j < size; `first` is the matrix column of the block's first column.
 * - `status`: one u32. 0 so far: no pivot failed. A pivot that is not positive (or NaN) at block column j stores
 *   `first + j + 1` and the kernel stops; when `status` is already set it does nothing. What `h`, `u` and `diagonal` hold
 *   then is unspecified.
 */
export const reverseCholesky = defineKernel({
  name: "reverse_cholesky",
  bindings: { h: "read_write", u: "read_write", diagonal: "read_write", status: "read_write" },
  params: { size: "u32", offset: "u32", ld: "u32", u_offset: "u32", ldu: "u32", first: "u32" },
  shader: variant(256),
  // More invocations than one vector of them, because 8 would need 330,000 loop iterations each for a block of 256 columns.
  softwareShader: variant(64),
});

function variant(lanes: number): ShaderVariant<"size"> {
  return {
    code,
    entryPoint: "reverse_cholesky",
    constants: { LANES: lanes },
    grid: () => [1, 1, 1],
    loops: ({ size }) => countLoops(size, lanes),
  };
}

/** The functions named are those of the shader. */
function countLoops(size: number, lanes: number): LoopCount {
  const rows = (count: number, ...body: LoopCount[]) => loop(Math.ceil(count / lanes), ...body);
  const sumBehind = (end: number, span: number) => {
    const products = rows(span, loop(Math.min(CHUNK, size - end)), loop(4));
    return sequence(
      rows(size, loop(STRIP)),
      loop(Math.ceil((size - end) / CHUNK), rows(2 * CHUNK), products),
    );
  };
  const factorStrip: LoopCount[] = [], invertStrip: LoopCount[] = [];
  for (let start = Math.floor((size - 1) / STRIP) * STRIP; start >= 0; start -= STRIP) {
    const end = Math.min(start + STRIP, size);
    const columns = loop(end - start, rows(end, loop(end - start - 1)), rows(size));
    factorStrip.push(sequence(sumBehind(end, end), rows(end, loop(end - start)), columns));
    const aligned = Math.floor(start / lanes) * lanes;
    const solve = rows(size, loop(end - start, loop(end - start - 1)));
    invertStrip.push(sequence(sumBehind(end, size - aligned), solve));
  }
  return sequence(loopOver(factorStrip), loopOver(invertStrip));
}
