/**
 * Tests attention whose products are computed by a library: for each precision, by the first one that is found on this machine. It
 * handles queries and keys in blocks of 128, and splits a block into strips of 64 queries if some do not see all of its keys. The
 * cases therefore have windows of fewer and of more tokens.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import { PRECISIONS } from "../../../src/device/cpu/products/product_library.ts";
import { attention, attentionCase } from "../../../src/device/kernels/forward/attention.ts";
import type { Values } from "../../../src/device/kernels/kernel_case.ts";
import { BF16, decodeFloat16, encodeFloat16 } from "../../reference/float16.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import { assertSame } from "../../support/assert_same.ts";
import { assertCase } from "../../support/kernel_cases.ts";

const COMMON = { batch: 2, kv_heads: 2, head_dim: 20 };
const SIZES: Readonly<Record<string, Parameters<typeof attentionCase>[0]>> = {
  "one token": { ...COMMON, tokens: 1 },
  "fewer keys than a block": { ...COMMON, tokens: 77, head_dim: 31 },
  "keys of five blocks": { ...COMMON, tokens: 577, batch: 1 },
  "shared key heads and limited scores": { ...COMMON, tokens: 130, heads: 4, soft_cap: 3 },
  "a sliding window": { ...COMMON, tokens: 150, window: 17 },
  "sinks, and chunks of several blocks": {
    ...COMMON,
    tokens: 700,
    batch: 1,
    window: 600,
    chunked: 1,
    has_sinks: 1,
  },
  "earlier keys of several blocks": { ...COMMON, tokens: 3, past: 600 },
  "a sliding window of several blocks": { ...COMMON, tokens: 1100, batch: 1, window: 530 },
  "a last strip of one row whose keys begin with a block": { ...COMMON, tokens: 193, window: 65 },
  "a negative scale": { ...COMMON, tokens: 150, scale: -0.25 },
};

/** The first library of each precision. */
const libraries = PRECISIONS.flatMap((precision) =>
  findProducts({ products: "auto", precisions: PRECISIONS }).find((found) =>
    found?.precision === precision
  ) ?? []
);

it("attention by a library", {
  skip: libraries.length > 0 ? undefined : "no library is installed in a usual place",
}, () => {});

for (const library of libraries) {
  describe(`attention by ${library.name}`, () => {
    // In bfloat16 the operands are rounded, so those of the test already are. The numerators of the softmax are rounded too,
    // which changes a mean of values by at most 2⁻⁹ of the largest one.
    const isRounded = library.precision === "bfloat16", tolerance = isRounded ? 2 ** -9 : 2e-6;
    const round = (values: Values) =>
      isRounded
        ? Float32Array.from(values, (value) => decodeFloat16(encodeFloat16(value, BF16), BF16))
        : values;
    let one: Backend, three: Backend;
    before(async () => {
      one = await createCpuBackend({ threads: 1, library });
      three = await createCpuBackend({ threads: 3, library });
    });
    after(async () => {
      await one.dispose();
      await three.dispose();
    });

    for (const [name, size] of Object.entries(SIZES)) {
      it(`agrees with float64 and gives the same bits with 1 and 3 threads: ${name}`, async () => {
        const { buffers: unrounded, ...attended } = attentionCase(size, [0, 0.1, 0.5, 0.02]);
        const buffers = () => {
          const { q, k, v, ...others } = unrounded();
          return { q: round(q), k: round(k), v: round(v), ...others };
        };
        await assertCase(one, attention, { ...attended, buffers }, { tolerance });
        assertSame(
          await dispatchCase(three, attention, buffers(), attended.params),
          await dispatchCase(one, attention, buffers(), attended.params),
        );
      });
    }
  });
}
