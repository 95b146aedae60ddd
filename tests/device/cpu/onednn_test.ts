/**
 * Tests what is special about products by oneDNN: the primitives that are kept, and functions that fail.
 * `product_libraries_slow_test.ts` compares the products of every library with float64.
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { type Backend, DeviceLostError } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import type { Gemm } from "../../../src/device/cpu/products/gemm.ts";
import {
  BFLOAT16_REMEDY,
  PRECISIONS,
  type ProductLibrary,
} from "../../../src/device/cpu/products/product_library.ts";
import { productNT, productTN } from "../../../src/device/kernels/product.ts";
import { assertClose } from "../../support/assert_close.ts";
import { GEMMS, type Product, runProduct } from "../../support/products.ts";

const [, NT, TN] = GEMMS;
const PRODUCT_NT = { ...NT, kernel: productNT }, PRODUCT_TN = { ...TN, kernel: productTN };

/** The index of B's leading dimension in the arguments of a product, and the function of oneDNN that checks it. */
const LDB = 9, STRIDES = "dnnl_memory_desc_create_with_strides";

const libraries = findProducts({ products: "auto", precisions: PRECISIONS }).filter((library) =>
  library?.name.startsWith("oneDNN")
) as ProductLibrary[];

async function withBackend<T>(
  library: ProductLibrary,
  threads: number,
  body: (backend: Backend) => Promise<T>,
): Promise<T> {
  const backend = await createCpuBackend({ threads, library });
  try {
    return await body(backend);
  } finally {
    await backend.dispose();
  }
}

it("products by oneDNN", {
  skip: libraries.length > 0 ? undefined : "oneDNN is not installed in a usual place",
}, () => {});

describe("findProducts() for bfloat16 with oneDNN restricted to AVX2", {
  skip: libraries.length > 0 && Deno.build.arch === "x86_64"
    ? undefined
    : "no oneDNN for x86-64 is installed",
}, () => {
  const path = libraries[0]?.path;

  it("refuses a library by its path, and names the library, the instruction set and the remedy", () =>
    assertRefused(
      path,
      (version) => `${path}: ${version} avx2 does not multiply bfloat16. ${BFLOAT16_REMEDY}`,
    ));

  it("refuses the libraries of the usual places, and lists them", () =>
    assertRefused("auto", (version) => `of the installed libraries (${version} avx2`));

  /** Finds the products in a process whose oneDNN uses no instructions after AVX2. */
  async function assertRefused(products: string, message: (version: string) => string): Promise<void> {
    const module = import.meta.resolve("../../../src/device/cpu/products/find_products.ts");
    const code = `import { findProducts } from ${JSON.stringify(module)};
      findProducts({ products: ${JSON.stringify(products)}, precisions: ["bfloat16"] });`;
    const args = ["eval", "--no-check", code], env = { ONEDNN_MAX_CPU_ISA: "AVX2", NO_COLOR: "1" };
    const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, env }).output();
    strictEqual(success, false);
    const version = libraries[0].name.split(" ").slice(0, 2).join(" ");
    ok(new TextDecoder().decode(stderr).includes(message(version)), new TextDecoder().decode(stderr));
  }
});

for (const library of libraries) {
  describe(`products by ${library.name}`, () => {
    it("have the same bits with 1, 2 and 3 threads", async () => {
      const products: Product[] = [{ size: [260, 130, 150], beta: 1 }, { size: [150, 150, 160], upper: 1 }];
      const [one, two, three] = await Promise.all(
        [1, 2, 3].map((threads) =>
          withBackend(library, threads, async (backend) => [
            (await runProduct(backend, PRODUCT_NT, products[0])).elements,
            (await runProduct(backend, PRODUCT_TN, products[1])).elements,
          ])
        ),
      );
      deepStrictEqual(two, one);
      deepStrictEqual(three, one);
    });

    it("stay right when more shapes are multiplied than primitives are kept", () =>
      withBackend(library, 0, async (backend) => {
        const rounds = backend.adapter.rounds === "bfloat16", tolerance = rounds ? 2 ** -7 + 2 ** -16 : 1e-6;
        for (let round = 0; round < 2; round++) {
          for (let rows = 16; rows < 316; rows++) {
            const { errors } = await runProduct(backend, PRODUCT_NT, { size: [rows, 3, 2] });
            assertClose(errors, errors.map(() => 0), tolerance, { scale: 1 });
          }
        }
      }));

    it("end the backend with the function and the status if oneDNN fails", () => {
      // Rows of B that overlap are an invalid argument.
      const overlap = (gemm: Gemm): Gemm => (...args) => gemm(...args.with(LDB, 1) as Parameters<Gemm>);
      const faulty: ProductLibrary = {
        ...library,
        gemm: (memory) => {
          const { sgemm, bgemm } = library.gemm(memory);
          return { sgemm: overlap(sgemm), ...(bgemm && { bgemm: overlap(bgemm) }) };
        },
      };
      return withBackend(
        faulty,
        0,
        (backend) =>
          rejects(runProduct(backend, PRODUCT_NT, { size: [20, 30, 40] }), (error: Error) => {
            strictEqual(
              error.message,
              `kernel product_nt: oneDNN failed to multiply: ${STRIDES} returned status 2`,
            );
            return error instanceof DeviceLostError;
          }),
      );
    });
  });
}
