/**
 * Well-known designs of a matrix product in WGSL, written anew so that Pare's `gemm` can be compared with them. They multiply
 * square f32 matrices whose order is a multiple of {@link ORDER_MULTIPLE}. They do not transpose, scale or accumulate. Only
 * the GPU bench runs them.
 */

import { defineKernel, type Kernel } from "../../../src/kernels/kernel.ts";
import naive from "./matmuls/naive.wgsl" with { type: "text" };
import registers4 from "./matmuls/registers_4x4.wgsl" with { type: "text" };
import shared32 from "./matmuls/shared_32.wgsl" with { type: "text" };
import shared64 from "./matmuls/shared_64_4x4.wgsl" with { type: "text" };
import vec8 from "./matmuls/vec4_8x8.wgsl" with { type: "text" };

/** A kernel that computes C ← A·B, where each matrix is (n, n). */
export type Matmul = Kernel<"a" | "b" | "c", "n">;

/**
 * The order of the matrices must be a multiple of this number. It is a multiple of every design's tile size.
 */
export const ORDER_MULTIPLE = 64;

function declare(name: string, code: string, tile: number): Matmul {
  return defineKernel({
    name,
    bindings: { a: "read", b: "read", c: "read_write" },
    params: { n: "u32" },
    shader: { code, entryPoint: "main", grid: ({ n }) => [n / tile, n / tile, 1] },
  });
}

/** All designs. The results show the name of each design. */
export const PUBLIC_MATMULS: readonly Matmul[] = [
  declare("naive, 16×16", naive, 16),
  declare("workgroup memory, 32×32", shared32, 32),
  declare("registers 4×4", registers4, 64),
  declare("workgroup memory 64×64, registers 4×4", shared64, 64),
  declare("vec4, registers 8×8", vec8, 64),
];
