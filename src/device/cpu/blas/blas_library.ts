/**
 * A BLAS library of the machine. The kernels `gemm_*` call it through Deno's FFI on their own memory, so no
 * matrix is copied.
 *
 * Each work item of a kernel calls the library with its own block of C, and the library uses only the thread
 * that calls it. The bits of a product therefore depend on the library, but not on the number of threads.
 *
 * The functions of `Deno.UnsafePointer` need the permission to call every library. This folder does without
 * them, so that `--allow-ffi=PATH` is enough.
 */

import { messageOf } from "../../../base/message_of.ts";
import { restrictAndName, VENDOR_SYMBOLS } from "./vendors.ts";

const SYMBOLS = {
  ...VENDOR_SYMBOLS,
  cblas_sgemm: {
    // order, op(A), op(B), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc
    // deno-fmt-ignore
    parameters: [
      "i32", "i32", "i32", "i32", "i32", "i32", "f32", "usize", "i32", "usize", "i32", "f32", "usize", "i32",
    ],
    result: "void",
  },
  /** Of the C library. Returns the address of its first argument. */
  memmove: { parameters: ["buffer", "buffer", "usize"], result: "usize" },
} as const satisfies Deno.ForeignLibraryInterface;

// The values of CBLAS for matrices that are stored by rows, and for op.
const ROW_MAJOR = 101;
const NOT_TRANSPOSED = 111;
const TRANSPOSED = 112;

/** The function `env.sgemm` that the WebAssembly module imports. `assembly/blas.ts` explains the arguments. */
export type Sgemm = (
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
export interface BlasLibrary {
  /** The path from which the library was loaded. A worker loads the library from the same path. */
  readonly path: string;
  /** Vendor, version and processor, such as `OpenBLAS 0.3.29 SkylakeX`. Products of libraries with the same name have the same bits. */
  readonly name: string;
  /** Returns the product of matrices in `memory`. Addresses are those of the WebAssembly module. */
  sgemm(memory: WebAssembly.Memory): Sgemm;
}

/**
 * Loads the library at `path`.
 * @throws {Deno.errors.NotCapable} without the permission `--allow-ffi=PATH`
 * @throws {Error} if the file is not a library, if it has no `cblas_sgemm`, or if its vendor is not known
 */
export function loadBlas(path: string): BlasLibrary {
  let symbols: Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;
  try {
    ({ symbols } = Deno.dlopen(path, SYMBOLS));
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new Error(`${path} cannot be used as a BLAS library: ${messageOf(error)}`);
  }
  const name = restrictAndName(symbols);
  if (!name) throw new Error(`${path} is none of the BLAS libraries OpenBLAS, MKL, BLIS and Accelerate`);
  return { path, name, sgemm: (memory) => sgemmIn(memory, symbols) };
}

function sgemmIn(
  memory: WebAssembly.Memory,
  { cblas_sgemm, memmove }: Pick<
    Deno.StaticForeignLibraryInterface<typeof SYMBOLS>,
    "cblas_sgemm" | "memmove"
  >,
): Sgemm {
  // The address at which the memory begins. A shared memory does not move when it grows.
  const bytes = new Uint8Array(memory.buffer);
  const base = Number(memmove(bytes, bytes, 0n));
  // WebAssembly passes an address from 2 GiB on as a negative number.
  const address = (pointer: number) => BigInt(base + (pointer >>> 0));
  const operation = (transposed: number) => transposed ? TRANSPOSED : NOT_TRANSPOSED;
  return (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) =>
    cblas_sgemm(
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
