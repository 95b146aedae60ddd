/**
 * The well-known designs of a WGSL matrix product, written afresh, for `gemm` to be measured beside: square f32 matrices whose order
 * is a multiple of {@link ORDER_MULTIPLE}, nothing transposed, scaled or added. Only the bench runs them.
 */

import { defineKernel, type Kernel } from "../../../src/kernels/kernel.ts";
import naive from "./matmuls/naive.wgsl" with { type: "text" };
import registers4 from "./matmuls/registers_4x4.wgsl" with { type: "text" };
import shared32 from "./matmuls/shared_32.wgsl" with { type: "text" };
import shared64 from "./matmuls/shared_64_4x4.wgsl" with { type: "text" };
import vec8 from "./matmuls/vec4_8x8.wgsl" with { type: "text" };

/** C ← A·B, (n, n) each. */
export type Matmul = Kernel<"a" | "b" | "c", "n">;

/** Every tile divides it. */
export const ORDER_MULTIPLE = 64;

function declare(name: string, code: string, tile: number): Matmul {
  return defineKernel({
    name,
    bindings: { a: "read", b: "read", c: "read_write" },
    params: { n: "u32" },
    shader: { code, entryPoint: "main", grid: ({ n }) => [n / tile, n / tile, 1] },
  });
}

/** By what a reader would call them. */
export const PUBLIC_MATMULS: readonly Matmul[] = [
  declare("naive, 16×16", naive, 16),
  declare("workgroup memory, 32×32", shared32, 32),
  declare("registers 4×4", registers4, 64),
  declare("workgroup memory 64×64, registers 4×4", shared64, 64),
  declare("vec4, registers 8×8", vec8, 64),
];
