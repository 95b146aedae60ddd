/**
 * A library of the machine that multiplies matrices. The kernels `gemm_*`, `product_*` and `attention` call it through
 * Deno's FFI on their own memory, so no matrix is copied.
 *
 * Each work item of a kernel calls the library with its own block of C, and the library uses only the thread that calls
 * it. The bits of a product therefore depend on the library, but not on the number of threads.
 */

import { messageOf } from "../../../base/errors.ts";
import { restrictAndName, VENDOR_SYMBOLS } from "./vendors.ts";

/** The formats to which products of the forward pass and of the statistics may round operands. Sums are float32. */
export const PRECISIONS = ["float32", "bfloat16"] as const;

export type Precision = (typeof PRECISIONS)[number];

const ONEDNN_GEMM = {
  // op(A), op(B), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc
  // deno-fmt-ignore
  parameters: [
    "u8", "u8", "i64", "i64", "i64", "f32", "usize", "i64", "usize", "i64", "f32", "usize", "i64",
  ],
  result: "i32",
  optional: true,
} as const;

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
  dnnl_sgemm: ONEDNN_GEMM,
  /** Not in oneDNN's header, but every version since 1.1 exports it, because oneDNN's own tests call it. */
  dnnl_gemm_bf16bf16f32: ONEDNN_GEMM,
  /** Of the C library. Returns the address of its first argument. */
  memmove: { parameters: ["buffer", "buffer", "usize"], result: "usize" },
} as const satisfies Deno.ForeignLibraryInterface;

type Symbols = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

/** The functions `env.sgemm` and `env.bgemm` that the WebAssembly module imports (`assembly/shared/library.ts`). */
export type Gemm = (
  transA: number,
  transB: number,
  m: number,
  n: number,
  k: number,
  alpha: number,
  a: number,
  lda: number,
  b: number,
  ldb: number,
  beta: number,
  c: number,
  ldc: number,
) => void;

/** A library that has been loaded into this process. */
export interface ProductLibrary {
  /** The path from which the library was loaded. A worker loads the library from the same path. */
  readonly path: string;
  readonly precision: Precision;
  /** Vendor, version, processor and precision, such as `OpenBLAS 0.3.29 SkylakeX`. Equal names mean equal bits. */
  readonly name: string;
  /** Returns the products of matrices in `memory`, by addresses in it. `bgemm` exists if the precision is bfloat16. */
  readonly gemm: (memory: WebAssembly.Memory) => { readonly sgemm: Gemm; readonly bgemm?: Gemm };
}

/**
 * Loads the library at `path`.
 * @throws {Error} if the file is not a library, multiplies no float32 matrices or is of an unknown vendor, or if
 *   `precision` is bfloat16 and the library does not multiply it
 */
export function loadProducts(path: string, precision: Precision): ProductLibrary {
  let symbols: Symbols;
  try {
    ({ symbols } = Deno.dlopen(path, SYMBOLS));
  } catch (error) {
    throw new Error(`${path} cannot be used as a library for products: ${messageOf(error)}`);
  }
  const vendor = restrictAndName(symbols), { cblas_sgemm, dnnl_sgemm, dnnl_gemm_bf16bf16f32: bf16 } = symbols;
  const sgemm = dnnl_sgemm ? oneDnnGemm(dnnl_sgemm) : cblas_sgemm && cblasGemm(cblas_sgemm);
  if (!vendor || !sgemm) {
    throw new Error(
      `${path} is none of the libraries OpenBLAS, MKL, BLIS, Accelerate and oneDNN with OpenMP`,
    );
  }
  if (precision === "float32") {
    return { path, precision, name: vendor, gemm: (memory) => ({ sgemm: sgemm(locate(memory, symbols)) }) };
  }
  if (!bf16 || !multipliesBfloat16(bf16, symbols)) {
    throw new Error(`${path}: ${vendor} does not multiply bfloat16 on this processor`);
  }
  return {
    path,
    precision,
    name: `${vendor} in bfloat16`,
    gemm: (memory) => {
      const address = locate(memory, symbols);
      return { sgemm: sgemm(address), bgemm: oneDnnGemm(bf16)(address) };
    },
  };
}

/** Turns a pointer of WebAssembly, which is a negative number from 2 GiB on, into an address of this process. */
type Locate = (pointer: number) => bigint;

function locate({ buffer }: WebAssembly.Memory, { memmove }: Symbols): Locate {
  // The address at which the memory begins. A shared memory does not move when it grows.
  const bytes = new Uint8Array(buffer), base = Number(memmove(bytes, bytes, 0n));
  return (pointer) => BigInt(base + (pointer >>> 0));
}

// The values of CBLAS for matrices that are stored by rows, and for op.
const ROW_MAJOR = 101;
const NOT_TRANSPOSED = 111;
const TRANSPOSED = 112;

function cblasGemm(gemm: NonNullable<Symbols["cblas_sgemm"]>): (address: Locate) => Gemm {
  const operation = (transposed: number) => transposed ? TRANSPOSED : NOT_TRANSPOSED;
  return (address) => (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) =>
    gemm(
      ROW_MAJOR,
      operation(transA),
      operation(transB),
      m,
      n,
      k,
      alpha,
      address(a),
      lda,
      address(b),
      ldb,
      beta,
      address(c),
      ldc,
    );
}

function oneDnnGemm(gemm: NonNullable<Symbols["dnnl_sgemm"]>): (address: Locate) => Gemm {
  const operation = (transposed: number) => (transposed ? "T" : "N").charCodeAt(0);
  return (address) => (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) => {
    const status = gemm(
      operation(transA),
      operation(transB),
      BigInt(m),
      BigInt(n),
      BigInt(k),
      alpha,
      address(a),
      BigInt(lda),
      address(b),
      BigInt(ldb),
      beta,
      address(c),
      BigInt(ldc),
    );
    if (status !== 0) throw new Error(`oneDNN failed to multiply, with status ${status}`);
  };
}

/** Whether the library computes 1·2 in bfloat16. oneDNN refuses bfloat16 on processors that are too old for it. */
function multipliesBfloat16(gemm: NonNullable<Symbols["dnnl_sgemm"]>, { memmove }: Symbols): boolean {
  const addressOf = (values: Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>) =>
    memmove(values, values, 0n);
  const a = Uint16Array.of(0x3f80), b = Uint16Array.of(0x4000), c = Float32Array.of(0);
  const [x, y, z] = [a, b, c].map(addressOf), op = "N".charCodeAt(0);
  const status = gemm(op, op, 1n, 1n, 1n, 1, x, 1n, y, 1n, 0, z, 1n);
  return status === 0 && c[0] === 2;
}
