/**
 * Tests the products of the `cpu` backend with a BLAS library of this machine. Every library that is installed
 * in a usual place is tested.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../../src/device/backend.ts";
import { roundingName } from "../../../src/device/adapter_rounding.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { type BlasLibrary, loadBlas } from "../../../src/device/cpu/blas/blas_library.ts";
import { findBlas, USUAL_PLACES } from "../../../src/device/cpu/blas/find_blas.ts";
import { assertClose } from "../../support/assert_close.ts";
import { GEMMS, type Product, type ProductKernel, runProduct } from "../../support/products.ts";

const [NN, NT, TN] = GEMMS;

/** If A or B is largely zeros, WebAssembly multiplies lists of non-zeros instead. */
const PRODUCTS: readonly (readonly [ProductKernel, Product])[] = [
  [NN, { size: [1, 1, 1] }],
  [NN, { size: [130, 70, 33], alpha: -0.5, beta: 2, padding: [3, 3, 3] }],
  [NN, { size: [65, 66, 0], beta: 0.5 }],
  [NT, { size: [33, 47, 129], beta: 1 }],
  [NT, { size: [1, 515, 260], padding: [1, 1, 1] }],
  [NT, { size: [600, 1, 17] }],
  [TN, { size: [129, 131, 401] }],
  [TN, { size: [401, 401, 130], beta: 1, upper: 1 }],
  [TN, { size: [700, 700, 40], upper: 1, padding: [5, 5, 5] }],
  [TN, { size: [150, 150, 260], beta: 1, upper: 1, zeros: [0.5, 0] }],
  [TN, { size: [150, 150, 260], alpha: 2, beta: 1, upper: 1, zeros: [0.95, 0] }],
  [NT, { size: [70, 90, 260], zeros: [0.95, 0] }],
];

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
        const product: Product = { size: [33, 47, 129] }, expected = await runProduct(one, NT, product);
        // The memory is reserved but never touched, so the machine need not have it.
        const reserved = one.createBuffer("reserved", 2 ** 31);
        assert.deepEqual(await runProduct(one, NT, product), expected);
        reserved.destroy();
      });

      for (const [gemm, product] of PRODUCTS) {
        const name = `${gemm.kernel.name} ${product.size.join("×")}, ${
          100 * (product.zeros?.[0] ?? 0)
        } % zeros`;
        it(`agrees with float64 and gives the same bits with 1 and 3 threads: ${name}`, async () => {
          const { elements, errors } = await runProduct(one, gemm, product);
          assertClose(errors, errors.map(() => 0), 1e-6, { scale: 1 });
          assert.deepEqual((await runProduct(three, gemm, product)).elements, elements);
        });
      }
    });
  }
});
