/**
 * Tests the kernels that round their output to bfloat16 themselves. A library must multiply the numbers that it would multiply if a
 * command of its own had rounded the output.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import { PRECISIONS } from "../../../src/device/cpu/products/product_library.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { productNN } from "../../../src/device/kernels/product.ts";
import { assertSame } from "../../support/assert_same.ts";
import { downloadF32, upload } from "../../support/device.ts";

const library = findProducts({ products: "auto", precisions: PRECISIONS }).find((found) =>
  found?.precision === "bfloat16"
);
const skip = library ? undefined : "no installed library multiplies bfloat16 on this processor";

describe("kernels that round their output", { skip }, () => {
  let backend: Backend;
  before(async () => {
    backend = await createCpuBackend({ threads: 2, library });
  });
  after(() => backend.dispose());

  /** Returns the elements of `x` times 1, computed by the library. */
  async function multiplyByOne(x: ReturnType<typeof upload>): Promise<Float32Array> {
    const m = x.byteLength / 4,
      one = upload(backend, Float32Array.of(1)),
      c = upload(backend, new Float32Array(m));
    const sizes = { m, n: 1, k: 1, lda: 1, ldb: 1, ldc: 1, a_offset: 0, b_offset: 0, c_offset: 0 };
    backend.dispatch(productNN, { a: x, b: one, c }, { ...sizes, alpha: 1, beta: 0, upper: 0 });
    const products = await downloadF32(backend, c);
    for (const buffer of [one, c]) buffer.destroy();
    return products;
  }

  for (const kernel of KERNELS.filter(({ roundedOutput }) => roundedOutput)) {
    it(`${kernel.name} rounds what it overwrites as a command of its own does, and nothing else`, async () => {
      const output = Object.keys(kernel.bindings).at(-1)!;
      for (const { buffers, params } of kernel.cases()) {
        const uploaded = Object.fromEntries(
          Object.entries(buffers()).map(([name, values]) => [name, upload(backend, values, name)]),
        );
        await multiplyByOne(uploaded[output]); // From now on, the output has a copy, which the kernel updates.
        backend.dispatch(kernel, uploaded, params);
        const products = await multiplyByOne(uploaded[output]);
        const unread = upload(backend, await downloadF32(backend, uploaded[output]), "rounded by a command");
        assertSame(products, await multiplyByOne(unread));
        unread.destroy();
        for (const buffer of Object.values(uploaded)) buffer.destroy();
      }
    });
  }
});
