/**
 * Factors one diagonal block, H_kk = R_kk·R_kkᵀ with R_kk upper triangular, from its last column to its
 * first, and inverts it: U_kk = R_kk⁻¹. The blocked factorisation around it is in `linalg`.
 */

import { defineKernel } from "./kernel.ts";
import code from "../../shaders/reverse_cholesky.wgsl" with { type: "text" };

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
  shader: { code, entryPoint: "reverse_cholesky", grid: () => [1, 1, 1] },
  softwareShader: { code, entryPoint: "reverse_cholesky", constants: { LANES: 8 }, grid: () => [1, 1, 1] },
});
