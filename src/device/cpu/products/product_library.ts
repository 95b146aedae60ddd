/**
 * A library of the machine that multiplies matrices. The kernels `gemm_*`, `product_*` and `attention` call it through
 * Deno's FFI on their own memory, so no matrix is copied.
 *
 * Each work item of a kernel calls the library with its own block of C, and the library uses only the thread that calls
 * it. The bits of a product therefore depend on the library, but not on the number of threads.
 */

import { messageOf } from "../../../base/errors.ts";
import type { Gemm, Products } from "./gemm.ts";
import { loadOneDnn } from "./onednn.ts";
import { restrictAndName, VENDOR_SYMBOLS } from "./vendors.ts";

/** The formats to which products of the forward pass and of the statistics may round operands. Sums are float32. */
export const PRECISIONS = ["float32", "bfloat16"] as const;

export type Precision = (typeof PRECISIONS)[number];

/** How to continue if no library multiplies bfloat16. */
export const BFLOAT16_REMEDY = "Choose --precision float32, or use oneDNN on a processor with AVX-512";

const SYMBOLS = {
  ...VENDOR_SYMBOLS,
  cblas_sgemm: {
    // order, op(A), op(B), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc
    // deno-fmt-ignore
    parameters: [
      "i32", "i32", "i32", "i32", "i32", "i32", "f32", "usize", "i32", "usize", "i32", "f32", "usize", "i32",
    ],
    result: "void",
    optional: true,
  },
  /** Of the C library. Returns the address of its first argument. */
  memmove: { parameters: ["buffer", "buffer", "usize"], result: "usize" },
} as const satisfies Deno.ForeignLibraryInterface;

type Symbols = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

/** A library that has been loaded into this process. */
export interface ProductLibrary {
  /** The path from which the library was loaded. A worker loads the library from the same path. */
  readonly path: string;
  readonly precision: Precision;
  /** Vendor, version, processor and precision, such as `OpenBLAS 0.3.29 SkylakeX`. Equal names mean equal bits. */
  readonly name: string;
  /** Returns the products of matrices in `memory`, by addresses in it. Only the thread that loaded the library may call them. */
  readonly gemm: (memory: WebAssembly.Memory) => Products;
}

/**
 * Loads the library at `path`.
 * @throws {Error} if the file is not a library, multiplies no float32 matrices or is of an unknown vendor, or if
 *   `precision` is bfloat16 and the library does not multiply it
 */
export function loadProducts(path: string, precision: Precision): ProductLibrary {
  let vendor: string | undefined, products: Products | null, symbols: Symbols;
  try {
    ({ symbols } = Deno.dlopen(path, SYMBOLS));
    const { cblas_sgemm, dnnl_version } = symbols;
    vendor = restrictAndName(symbols);
    products = dnnl_version && vendor ? loadOneDnn(path) : cblas_sgemm && { sgemm: cblasGemm(cblas_sgemm) };
  } catch (error) {
    throw new Error(`${path} cannot be used as a library for products: ${messageOf(error)}`);
  }
  if (!vendor || !products) {
    throw new Error(
      `${path} is none of the libraries OpenBLAS, MKL, BLIS, Accelerate and oneDNN 3 with OpenMP`,
    );
  }
  const { sgemm, bgemm } = products;
  if (precision === "float32") {
    return { path, precision, name: vendor, gemm: (memory) => ({ sgemm: inMemory(memory, symbols, sgemm) }) };
  }
  if (!bgemm || !multipliesBfloat16((memory) => inMemory(memory, symbols, bgemm))) {
    throw new Error(`${path}: ${vendor} does not multiply bfloat16. ${BFLOAT16_REMEDY}`);
  }
  return {
    path,
    precision,
    name: `${vendor} in bfloat16`,
    gemm: (memory) => ({
      sgemm: inMemory(memory, symbols, sgemm),
      bgemm: inMemory(memory, symbols, bgemm),
    }),
  };
}

/** Returns `gemm` for pointers in `memory`, which are negative numbers in WebAssembly from 2 GiB on. */
function inMemory({ buffer }: WebAssembly.Memory, { memmove }: Symbols, gemm: Gemm): Gemm {
  // The address at which the memory begins. A shared memory does not move when it grows.
  const bytes = new Uint8Array(buffer), base = Number(memmove(bytes, bytes, 0n));
  return (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) => {
    const [aAddress, bAddress, cAddress] = [base + (a >>> 0), base + (b >>> 0), base + (c >>> 0)];
    gemm(transA, transB, m, n, k, alpha, aAddress, lda, bAddress, ldb, beta, cAddress, ldc);
  };
}

// The values of CBLAS for matrices that are stored by rows, and for op.
const ROW_MAJOR = 101;
const NOT_TRANSPOSED = 111;
const TRANSPOSED = 112;

function cblasGemm(gemm: NonNullable<Symbols["cblas_sgemm"]>): Gemm {
  const operation = (transposed: number) => transposed ? TRANSPOSED : NOT_TRANSPOSED;
  return (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) => {
    const op = [operation(transA), operation(transB)] as const, [x, y, z] = [BigInt(a), BigInt(b), BigInt(c)];
    gemm(ROW_MAJOR, ...op, m, n, k, alpha, x, lda, y, ldb, beta, z, ldc);
  };
}

/**
 * Whether the library computes (1, 1)ᵀ·2 in bfloat16, with one row and with both. oneDNN refuses bfloat16 on processors
 * that are too old for it. With AVX2, it computes products of one row and refuses products of several rows.
 */
function multipliesBfloat16(gemm: (memory: WebAssembly.Memory) => Gemm): boolean {
  const memory = new WebAssembly.Memory({ initial: 1 });
  new Uint16Array(memory.buffer).set([0x3f80, 0x3f80, 0x4000]);
  try {
    const multiply = gemm(memory);
    for (const rows of [1, 2]) multiply(0, 0, rows, 1, 1, 1, 0, 1, 4, 1, 0, 8 * rows, 1);
  } catch {
    return false;
  }
  return [2, 4, 5].every((i) => new Float32Array(memory.buffer)[i] === 2);
}
