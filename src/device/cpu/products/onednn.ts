/**
 * Products by oneDNN 3. It has two ways to multiply: the MatMul primitive (`matmul.ts`), and functions that take the
 * arguments of a BLAS.
 */

import { MatMul, MATMUL_SYMBOLS, requireSuccess } from "./matmul.ts";
import type { Gemm, Products } from "./gemm.ts";

const GEMM = {
  // op(A), op(B), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc
  // deno-fmt-ignore
  parameters: [
    "u8", "u8", "i64", "i64", "i64", "f32", "usize", "i64", "usize", "i64", "f32", "usize", "i64",
  ],
  result: "i32",
} as const;

const SYMBOLS = {
  ...MATMUL_SYMBOLS,
  dnnl_sgemm: GEMM,
  /** Not in oneDNN's header, but every version since 1.1 exports it, because oneDNN's own tests call it. */
  dnnl_gemm_bf16bf16f32: GEMM,
} as const satisfies Deno.ForeignLibraryInterface;

type Symbols = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

/**
 * Loads oneDNN at `path`. The products belong to the calling thread.
 * @throws {Error} if the version is older than 3, or if oneDNN does not start
 */
export function loadOneDnn(path: string): Required<Products> {
  const { symbols } = Deno.dlopen(path, SYMBOLS), matmul = new MatMul(symbols);
  const choose = (isRounded: boolean, gemm: Gemm): Gemm => (...product) =>
    isFasterByMatMul(isRounded, product) ? matmul.multiply(isRounded, product) : gemm(...product);
  return {
    sgemm: choose(false, blasGemm("dnnl_sgemm", symbols.dnnl_sgemm)),
    bgemm: choose(true, blasGemm("dnnl_gemm_bf16bf16f32", symbols.dnnl_gemm_bf16bf16f32)),
  };
}

/** The fewest rows of a product in float32 for which the MatMul primitive is faster. */
const FLOAT32_ROWS = 16;

/**
 * Whether the MatMul primitive computes a product. The rule is fixed, because the bits of the two ways differ.
 *
 * Measured on an AMD EPYC with AVX-512: for A·Bᵀ in float32, the primitive is 7 to 9 % faster. In bfloat16, it is up to
 * 15 % faster for A·B, and equal within 5 % for A·Bᵀ. For Aᵀ·B it is 5 to 15 % slower. On an Intel processor with AMX,
 * the primitive reaches 958 GFLOP/s in bfloat16 instead of 590 to 647, and only the primitive has a fast way for α ≠ 1.
 */
function isFasterByMatMul(isRounded: boolean, [transA, transB, m, , , alpha]: Parameters<Gemm>): boolean {
  if (isRounded) return m > 1 && (!transA || alpha !== 1);
  return m >= FLOAT32_ROWS && !transA && transB !== 0;
}

function blasGemm(name: string, gemm: Symbols["dnnl_sgemm"]): Gemm {
  const operation = (transposed: number) => (transposed ? "T" : "N").charCodeAt(0);
  return (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) => {
    const status = gemm(
      operation(transA),
      operation(transB),
      BigInt(m),
      BigInt(n),
      BigInt(k),
      alpha,
      BigInt(a),
      BigInt(lda),
      BigInt(b),
      BigInt(ldb),
      beta,
      BigInt(c),
      BigInt(ldc),
    );
    requireSuccess(name, status);
  };
}
