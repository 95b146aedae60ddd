/**
 * The Cholesky factorisation of one diagonal block from its last column to its first: H = R·Rᵀ with R upper triangular,
 * and then U = R⁻¹. `layer/linalg/reverse_cholesky.ts` uses this kernel to factor a whole matrix, block by block.
 */

import { defineKernel, type ShaderVariant, u32 } from "./kernel.ts";
import { filled, signed, sumRoundings } from "./kernel_case.ts";
import code from "../../../shaders/reverse_cholesky.wgsl" with { type: "text" };
import packedCode from "../../../shaders/reverse_cholesky_packed.wgsl" with { type: "text" };

/** The largest block in workgroup memory. It takes 33 KiB. GPUs have at least 48 KiB, most software adapters 32 KiB. */
const LARGEST_PACKED = 128;

/**
 * Factors a block H of (size, size), where `size` is at most 256. The block starts at column `first` of the matrix.
 *
 * - `h`, f32: the block, which starts at `offset` and has rows `ld` elements apart. Only its upper triangle is read.
 * - `r`, f32: receives R from `r_offset` on, with rows `ldr` elements apart, and zeros below the diagonal.
 * - `u`, f32: receives U from `u_offset` on, with rows `ldu` elements apart, and zeros below the diagonal.
 * - `diagonal`, f32: receives R[j,j] at `first + j`, for each column j of the block.
 * - `status`, one u32: 0 if no pivot has failed. If the pivot in column j of the block is NaN or not positive, `status`
 *   becomes `first + j + 1`, and the contents of `r`, `u` and `diagonal` are unspecified. If several pivots fail, the
 *   last column counts, because it is factored first. If `status` is not 0 at the start, the kernel does nothing.
 */
export const reverseCholesky = defineKernel({
  name: "reverse_cholesky",
  bindings: { h: "read", r: "read_write", u: "read_write", diagonal: "read_write", status: "read_write" },
  params: u32("size", "offset", "ld", "r_offset", "ldr", "u_offset", "ldu", "first"),
  shader: shaderWithLanes(256),
  softwareShader: shaderWithLanes(64),
  variants: { packed: packedShader(LARGEST_PACKED) },
  variantFor: ({ size }) => size <= LARGEST_PACKED ? "packed" : undefined,
  cases: () => [
    ...[1, 45, 128, 256].map((size) => ({
      ...choleskyCase(size, size + 5, size),
      feature: `${size} columns`,
      // Every element of R and U is a sum of up to `size` products, and U also depends on the sums of R.
      roundings: { r: sumRoundings(size), u: 2 * sumRoundings(size), diagonal: sumRoundings(size) },
    })),
    ...[128, 256].map((size) => {
      const { params, buffers } = choleskyCase(size, size + 5, size + 1);
      const at = (j: number) => (2 + j) * (size + 5) + 3 + j;
      return {
        feature: `${size} columns that are not positive definite`,
        params,
        buffers: () => {
          const operands = buffers();
          operands.h[at(99)] = -4;
          operands.h[at(17)] = NaN;
          return operands;
        },
        // Only the status of a failed factorisation is specified.
        includes: { r: () => false, u: () => false, diagonal: () => false },
      };
    }),
    { feature: "after a failed block", ...choleskyCase(33, 40, 5, 12) },
  ],
});

/** Declares `reverse_cholesky_packed.wgsl` for blocks of up to `largest` ≤ 256 columns, kept in workgroup memory. */
export function packedShader(largest: number): ShaderVariant<"size"> {
  return {
    code: packedCode,
    constants: { LARGEST: largest },
    workgroupBytes: 4 * (largest * (largest + 1) / 2 + 2 * largest + 1),
    grid: () => [1, 1, 1],
  };
}

function shaderWithLanes(lanes: number): ShaderVariant<"size"> {
  return {
    code,
    constants: { LANES: lanes },
    grid: () => [1, 1, 1],
  };
}

/**
 * A symmetric, diagonally dominant block of `size` columns at row 2 and column 3 of a buffer, with NaN below its
 * diagonal. The bits of the results must be equal.
 */
export function choleskyCase(size: number, ld: number, seed: number, status = 0) {
  const ldr = ld + 4, offset = 2 * ld + 3;
  return {
    params: { size, offset, ld, r_offset: ldr + 1, ldr, u_offset: offset, ldu: ld, first: 7 },
    buffers: () => {
      const h = signed((size + 3) * ld, seed).map((value) => value / 8);
      for (let i = 0; i < size; i++) {
        for (let j = 0; j <= i; j++) h[(2 + i) * ld + 3 + j] = i === j ? 4 + h[(2 + i) * ld + 3 + j] : NaN;
      }
      return {
        h,
        r: filled((size + 3) * ldr),
        u: filled(h.length),
        diagonal: filled(size + 9),
        status: Uint32Array.of(status),
      };
    },
  };
}
