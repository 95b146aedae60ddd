/**
 * Tests of gemm_nn, gemm_nt and gemm_tn. Each error is divided by the sum of the magnitudes of the element's terms, so
 * that one tolerance holds for all elements.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { gemmNN, gemmNT, gemmTN } from "../../../src/device/kernels/gemm.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { testKernel } from "../../support/kernel_cases.ts";
import { GEMMS, type Product, type ProductKernel, runProduct } from "../../support/products.ts";

/** Sizes around every boundary of the implementations, which work on multiples of 4, 6, 8, 16, 64, 240, 256, 480 and 512 elements. */
const SIZES: readonly Product["size"][] = [
  [1, 1, 1],
  [1, 7, 5],
  [7, 1, 3],
  [5, 6, 1],
  [6, 8, 4],
  [7, 9, 5],
  [13, 17, 31],
  [63, 65, 64],
  [64, 64, 127],
  [97, 130, 257],
  [192, 256, 32],
  [241, 33, 130],
  [31, 263, 513],
  [517, 65, 386],
];

async function check(backend: Backend, gemm: ProductKernel, product: Product): Promise<void> {
  const { errors } = await runProduct(backend, gemm, product), [, , k] = product.size;
  // With unit roundoff u, k·u bounds the error of a sum in any order. Alpha and beta add two more roundings.
  const label = `${gemm.kernel.name} ${product.size.join("×")}`;
  assertClose(errors, errors.map(() => 0), (k + 3) * 2 ** -24, { scale: 1, label });
}

eachBackend("gemm", (backend) => {
  for (const gemm of GEMMS) {
    const { name } = gemm.kernel;
    it(`${name} multiplies matrices of every tested size`, async () => {
      for (const size of SIZES) await check(backend(), gemm, { size });
    });

    it(`${name} accepts offsets and leading dimensions`, async () => {
      for (const size of [[5, 6, 7], [65, 70, 66], [128, 64, 32]] as const) {
        await check(backend(), gemm, { size, offsets: [3, 1, 2], padding: [5, 3, 7], alpha: 2, beta: 1 });
        await check(backend(), gemm, { size, offsets: [4, 8, 12], padding: [4, 8, 16] });
      }
    });

    it(`${name} scales by alpha and beta, and does not read C if beta is 0`, async () => {
      for (const [alpha, beta] of [[1, 0], [1, 1], [-1, 1], [0.5, -2], [0, 1], [0, 0]] as const) {
        for (const size of [[33, 41, 600], [6, 8, 4]] as const) {
          await check(backend(), gemm, { size, alpha, beta });
        }
      }
    });

    it(`${name} only scales C if k is 0`, async () => {
      for (const beta of [0.5, 0]) await check(backend(), gemm, { size: [9, 11, 0], beta });
    });

    it(`${name} computes at least the elements that upper asks for`, async () => {
      for (const size of [[5, 5, 5], [130, 130, 70], [257, 257, 33], [70, 200, 20], [200, 70, 20]] as const) {
        for (const upper of [1, 2, 61, 64, 131, 400]) {
          await check(backend(), gemm, { size, upper, alpha: -1, beta: 1 });
        }
      }
    });
  }

  it("accepts a product without rows or columns", async () => {
    for (const size of [[0, 5, 3], [5, 0, 3]] as const) await check(backend(), GEMMS[0], { size });
  });

  it("computes the same bits in every run", async () => {
    const [first, second] = [
      await runProduct(backend(), GEMMS[0], { size: [200, 170, 300] }),
      await runProduct(backend(), GEMMS[0], { size: [200, 170, 300] }),
    ];
    deepStrictEqual(first.elements, second.elements);
  });
});

for (const kernel of [gemmNN, gemmNT, gemmTN]) testKernel(kernel, { tolerance: 1e-6 });
