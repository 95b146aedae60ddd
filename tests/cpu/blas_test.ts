/**
 * Tests the products of the `cpu` backend with a BLAS library of this machine. Every library that is installed
 * in a usual place is tested.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import { roundingName } from "../../src/cpu/instruction_pairing.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { type BlasLibrary, loadBlas } from "../../src/cpu/blas/blas_library.ts";
import { findBlas, USUAL_PLACES } from "../../src/cpu/blas/find_blas.ts";
import { gemmNN, gemmNT, gemmTN } from "../../src/kernels/gemm.ts";
import { referenceGemm } from "../reference/kernels/gemm.ts";
import { assertClose } from "../support/assert_close.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

const KERNELS = { gemm_nn: gemmNN, gemm_nt: gemmNT, gemm_tn: gemmTN };

interface Product {
  readonly kernel: keyof typeof KERNELS;
  readonly size: readonly [m: number, n: number, k: number];
  readonly alpha?: number;
  readonly beta?: number;
  readonly upper?: boolean;
  /** The fraction of zeros in A. If it is large, WebAssembly multiplies lists of non-zeros instead. @default 0 */
  readonly zeros?: number;
  /** The elements by which the rows in memory are longer than the matrices. */
  readonly padding?: number;
}

const PRODUCTS: readonly Product[] = [
  { kernel: "gemm_nn", size: [1, 1, 1] },
  { kernel: "gemm_nn", size: [130, 70, 33], alpha: -0.5, beta: 2, padding: 3 },
  { kernel: "gemm_nn", size: [65, 66, 0], beta: 0.5 },
  { kernel: "gemm_nt", size: [33, 47, 129], beta: 1 },
  { kernel: "gemm_nt", size: [1, 515, 260], padding: 1 },
  { kernel: "gemm_nt", size: [600, 1, 17] },
  { kernel: "gemm_tn", size: [129, 131, 401] },
  { kernel: "gemm_tn", size: [401, 401, 130], beta: 1, upper: true },
  { kernel: "gemm_tn", size: [700, 700, 40], upper: true, padding: 5 },
  { kernel: "gemm_tn", size: [150, 150, 260], beta: 1, upper: true, zeros: 0.5 },
  { kernel: "gemm_tn", size: [150, 150, 260], alpha: 2, beta: 1, upper: true, zeros: 0.95 },
  { kernel: "gemm_nt", size: [70, 90, 260], zeros: 0.95 },
];

function operands({ kernel, size: [m, n, k], padding = 0, zeros = 0 }: Product) {
  const transA = kernel === "gemm_tn", transB = kernel === "gemm_nt";
  const lda = (transA ? m : k) + padding, ldb = (transB ? k : n) + padding, ldc = n + padding;
  const next = uniform(4);
  const values = normals((transA ? k : m) * lda + 1, 1).map((value) => next() < zeros ? 0 : value);
  return {
    a: { values, offset: 0, ld: lda, transposed: transA },
    b: { values: normals((transB ? n : k) * ldb + 1, 2), offset: 0, ld: ldb, transposed: transB },
    c: { values: normals(m * ldc, 3), offset: 0, ld: ldc },
  };
}

/** Returns C, (m, n) without padding. */
async function multiply(backend: Backend, product: Product): Promise<Float32Array> {
  const { kernel, size: [m, n, k], alpha = 1, beta = 0, upper = false } = product;
  const { a, b, c } = operands(product);
  const buffers = {
    a: upload(backend, a.values),
    b: upload(backend, b.values),
    c: upload(backend, c.values),
  };
  backend.dispatch(KERNELS[kernel], buffers, {
    ...{ m, n, k, alpha, beta, upper: upper ? 1 : 0, a_offset: 0, b_offset: 0, c_offset: 0 },
    ...{ lda: a.ld, ldb: b.ld, ldc: c.ld },
  });
  const stored = await downloadF32(backend, buffers.c);
  for (const buffer of Object.values(buffers)) buffer.destroy();
  return Float32Array.from({ length: m * n }, (_, i) => stored[Math.floor(i / n) * c.ld + i % n]);
}

/** Returns the libraries of this machine, each once. */
function installedLibraries(): BlasLibrary[] {
  const found = new Map<string, BlasLibrary>();
  for (const path of USUAL_PLACES[Deno.build.os] ?? []) {
    try {
      const library = loadBlas(path);
      found.set(library.name, library);
    } catch (error) {
      assert.match((error as Error).message, /cannot be used as a BLAS library/);
    }
  }
  return [...found.values()];
}

const libraries = installedLibraries();

describe("BLAS libraries", () => {
  if (libraries.length === 0) {
    const skip = `no BLAS library is installed in ${USUAL_PLACES[Deno.build.os]?.join(", ")}`;
    it(`are skipped: ${skip}`, { skip }, () => {});
  }

  it("are not used with the choice `off`", () => assert.equal(findBlas("off"), undefined));

  it("are refused by path if the file is absent or is no BLAS library", () => {
    assert.throws(() => findBlas("/nowhere/libblas.so"), /\/nowhere\/libblas\.so cannot be used as a BLAS/);
    assert.throws(() => findBlas(Deno.execPath()), /cannot be used as a BLAS library/);
  });

  for (const library of libraries) {
    describe(library.name, () => {
      let one: Backend, three: Backend;
      before(async () => {
        one = await createCpuBackend({ threads: 1, blas: library });
        three = await createCpuBackend({ threads: 3, blas: library });
      });
      after(async () => {
        await one.dispose();
        await three.dispose();
      });

      it("is part of the adapter's name and of what the bits depend on", () => {
        assert.ok(three.adapter.name.endsWith(` with ${library.name}, 3 threads`), three.adapter.name);
        assert.equal(roundingName(one.adapter.name), `WebAssembly SIMD with ${library.name}`);
        assert.equal(roundingName(three.adapter.name), roundingName(one.adapter.name));
      });

      it("multiplies in memory beyond 2 GiB, whose addresses are negative numbers in WebAssembly", async () => {
        const product: Product = { kernel: "gemm_nt", size: [33, 47, 129] };
        const expected = await multiply(one, product);
        // The memory is reserved but never touched, so the machine need not have it.
        const reserved = one.createBuffer("reserved", 2 ** 31);
        assert.deepEqual(await multiply(one, product), expected);
        reserved.destroy();
      });

      for (const product of PRODUCTS) {
        const { kernel, size: [m, n, k], alpha = 1, beta = 0, upper = false, zeros = 0 } = product;
        const name = `${kernel} ${m}×${n}×${k}, ${100 * zeros} % zeros`;
        it(`agrees with float64 and gives the same bits with 1 and 3 threads: ${name}`, async () => {
          const { a, b, c } = operands(product);
          const expected = referenceGemm([m, n, k], a, b, c, alpha, beta);
          const result = await multiply(one, product);
          const wanted = [...result.keys()].filter((i) => !upper || i % n >= Math.floor(i / n));
          const errors = wanted.map((i) => (result[i] - expected.product[i]) / (expected.magnitude[i] || 1));
          assertClose(errors, errors.map(() => 0), 1e-6, { scale: 1 });
          const again = await multiply(three, product);
          assert.deepEqual(wanted.map((i) => again[i]), wanted.map((i) => result[i]));
        });
      }
    });
  }
});
