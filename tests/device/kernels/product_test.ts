/**
 * Tests the products of forward passes and statistics against float64 code: on every backend, and with the shader for matrix units,
 * whose units are replaced by loops.
 */

import { it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { defineKernel } from "../../../src/device/kernels/kernel.ts";
import { MATRIX_VARIANT, productNN, productNT, productTN } from "../../../src/device/kernels/product.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { withoutMatrixUnits } from "../../support/matrix_shim.ts";
import { type Product, type ProductKernel, runProduct } from "../../support/products.ts";
import { webgpuSuite } from "../webgpu/suite.ts";

const PRODUCTS = [
  { kernel: productNN, transA: false, transB: false },
  { kernel: productNT, transA: false, transB: true },
  { kernel: productTN, transA: true, transB: false },
] as const;

/** Sizes m, n and k around the edges of units (16), quarters (64) and patches (128), and longer than a chain (2048). */
const SIZES = [
  ...[[1, 1, 1], [7, 130, 2], [15, 17, 16], [65, 63, 33], [128, 129, 15], [130, 130, 130]],
  ...[[3, 5, 2049], [2, 18, 4113]],
];

/** The shader for matrix units, with loops in place of the units. */
function shimmed({ kernel }: (typeof PRODUCTS)[number]) {
  const matrix = kernel.variants![MATRIX_VARIANT];
  return defineKernel({
    ...kernel,
    shader: { ...matrix, code: withoutMatrixUnits(matrix.code) },
    softwareShader: undefined,
    variants: undefined,
    variantFor: undefined,
  });
}

/** Checks the error of each element against `roundings` units in the last place of the sum of its terms' magnitudes. */
async function check(backend: Backend, kernel: ProductKernel, product: Product, roundings: number) {
  const { errors } = await runProduct(backend, kernel, product);
  const label = `${kernel.kernel.name} ${product.size.join("×")}`;
  assertClose(errors, errors.map(() => 0), roundings * 2 ** -24, { scale: 1, label });
}

/**
 * Without splitting, the bound of an error is k + 3 roundings. Each split adds 2⁻²², and low·low, which is left out,
 * another 2⁻²².
 */
async function testSizes(
  backend: Backend,
  kernel: ProductKernel,
  extraRoundings: number,
  sizes: readonly number[][] = SIZES,
) {
  for (const [m, n, k] of sizes) {
    const size = [m, n, k] as const;
    for (const [odd, upper] of [[0, 0], [1, 1], [1, 1 + Math.floor(m / 2)]]) {
      const place = { offsets: [3 * odd, 5 * odd, 7 * odd], padding: [odd, odd, odd] } as const;
      await check(backend, kernel, { size, upper, alpha: -0.5, beta: odd, ...place }, k + 3 + extraRoundings);
    }
  }
}

eachBackend("products", (backend) => {
  for (const product of PRODUCTS) {
    it(`compute ${product.kernel.name}`, () => testSizes(backend(), product, 0));
  }
});

webgpuSuite("the shader for matrix units", (backend) => {
  for (const product of PRODUCTS) {
    const { name } = product.kernel, kernel = shimmed(product);
    const matrix = { ...product, kernel };

    // The products share all of the shader but the reads of their operands.
    const sizes = product.kernel === productNT ? SIZES : SIZES.filter((_, i) => i % 2 === 1);
    it(`computes ${name}, with the units replaced by loops`, () => testSizes(backend(), matrix, 12, sizes));

    it(`computes ${name} with rows and columns of very different magnitudes`, async () => {
      const scales = [1e-15, 1e12, 1, 6e4, 1e-8];
      for (const beta of [0, 1]) {
        await check(backend(), matrix, { size: [20, 21, 40], alpha: -0.5, beta, scales }, 43 + 12);
      }
    });
  }
});
