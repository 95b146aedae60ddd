/**
 * Tests the products of the `cpu` backend with the libraries of this machine. Every library that is installed in a usual
 * place is tested, in every precision that it has.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, roundingName } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import { loadProducts, PRECISIONS } from "../../../src/device/cpu/products/product_library.ts";
import { productNN, productNT, productTN } from "../../../src/device/kernels/product.ts";
import { BF16, decodeFloat16, encodeFloat16 } from "../../reference/float16.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { GEMMS, type Product, type ProductKernel, runProduct } from "../../support/products.ts";

const [NN, NT, TN] = GEMMS;
const PRODUCT_NN = { ...NN, kernel: productNN };
const PRODUCT_NT = { ...NT, kernel: productNT }, PRODUCT_TN = { ...TN, kernel: productTN };

/** The largest relative error of a product of two numbers that were rounded to bfloat16, which has 8 significant bits. */
const BFLOAT16_ERROR = 2 ** -7 + 2 ** -16;
const round = (value: number) => decodeFloat16(encodeFloat16(value, BF16), BF16);

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
  [PRODUCT_NN, { size: [130, 70, 33], alpha: -0.5, beta: 2, padding: [3, 3, 3] }],
  [PRODUCT_NN, { size: [129, 131, 401], beta: 1 }],
  [PRODUCT_NT, { size: [1, 1, 1] }],
  [PRODUCT_NT, { size: [130, 70, 33], alpha: -0.5, beta: 2, padding: [3, 3, 3] }],
  [PRODUCT_NT, { size: [33, 47, 2100], beta: 1, padding: [1, 1, 1] }],
  [PRODUCT_NT, { size: [65, 66, 0], beta: 0.5 }],
  [PRODUCT_TN, { size: [129, 131, 401] }],
  [PRODUCT_TN, { size: [401, 401, 130], beta: 1, upper: 1 }],
  [PRODUCT_TN, { size: [700, 700, 40], upper: 1, padding: [5, 5, 5] }],
  [PRODUCT_TN, { size: [150, 150, 260], alpha: 2, beta: 1, upper: 1, zeros: [0.95, 0] }],
];

const libraries = findProducts({ products: "auto", precisions: PRECISIONS }).filter((library) =>
  library !== undefined
);

describe("libraries for products", () => {
  if (libraries.length === 0) {
    const skip = "no library of find_products.ts is installed";
    it(`are skipped: ${skip}`, { skip }, () => {});
  }

  it("are not used with the choice `own`, which has no bfloat16", () => {
    assert.deepEqual(findProducts({ products: "own", precisions: PRECISIONS }), [undefined]);
    assert.throws(
      () => findProducts({ products: "own", precisions: ["bfloat16"] }),
      /own products are float32/,
    );
  });

  it("are refused by path if the file is absent or is not a library", () => {
    for (const path of ["/nowhere/libblas.so", Deno.execPath()]) {
      const request = { products: path, precisions: PRECISIONS };
      assert.throws(() => findProducts(request), (error: Error) => {
        return error.message.startsWith(`${path} cannot be used as a library for products: `);
      });
    }
  });

  it("are found in a fixed order, before Pare's own kernels and with native bfloat16 first", () => {
    const names = () =>
      findProducts({ products: "auto", precisions: PRECISIONS }).map((found) => found?.name);
    const rank = (name?: string) =>
      name === undefined ? 2 : / (\S*bf16|\S*amx) in bfloat16/.test(name) ? 0 : 1;
    const found = names();
    assert.deepEqual(names(), found);
    assert.deepEqual(found.map(rank), found.map(rank).toSorted());
    assert.equal(found.at(-1), undefined);
  });

  it("have the same order of precisions by path as with the choice `auto`", () => {
    for (const path of new Set(libraries.map((library) => library.path))) {
      const named = findProducts({ products: path, precisions: PRECISIONS }).map((found) => found?.name);
      assert.deepEqual(named, libraries.filter((library) => library.path === path).map(({ name }) => name));
    }
  });

  it("refuse a precision that they do not have", () => {
    for (const { path } of libraries.filter(({ name }) => name.startsWith("OpenBLAS"))) {
      assert.throws(
        () => loadProducts(path, "bfloat16"),
        /does not multiply bfloat16\. Choose --precision float32/,
      );
    }
  });

  for (const library of libraries) {
    describe(library.name, () => {
      let one: Backend, three: Backend;
      before(async () => {
        one = await createCpuBackend({ threads: 1, library });
        three = await createCpuBackend({ threads: 3, library });
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
        assertSame(await runProduct(one, NT, product), expected);
        reserved.destroy();
      });

      for (const [gemm, product] of PRODUCTS) {
        const name = `${gemm.kernel.name} ${product.size.join("×")}, ${
          100 * (product.zeros?.[0] ?? 0)
        } % zeros`;
        it(`agrees with float64 and gives the same bits with 1 and 3 threads: ${name}`, async () => {
          const { elements, errors } = await runProduct(one, gemm, product);
          const rounds = library.precision === "bfloat16" && gemm.kernel.name.startsWith("product");
          assertClose(errors, errors.map(() => 0), rounds ? BFLOAT16_ERROR : 1e-6, { scale: 1 });
          if (rounds) {
            const rounded = await runProduct(one, gemm, { ...product, round });
            assertClose(rounded.errors, errors.map(() => 0), 1e-6, { scale: 1 });
          }
          assert.deepEqual((await runProduct(three, gemm, product)).elements, elements);
        });
      }
    });
  }
});
