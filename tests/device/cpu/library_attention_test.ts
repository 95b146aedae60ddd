/**
 * Tests attention whose products are computed by the first library for products that is found on this machine. It
 * handles keys in blocks of 512, so the cases have windows of fewer and of more tokens.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { findProducts } from "../../../src/device/cpu/products/find_products.ts";
import { attention, attentionCase } from "../../../src/device/kernels/forward/attention.ts";
import { dispatchCase } from "../../../scripts/self_check/dispatch_case.ts";
import { assertCase } from "../../support/kernel_cases.ts";

const COMMON = { batch: 2, kv_heads: 2, head_dim: 20 };
const SIZES: Readonly<Record<string, Parameters<typeof attentionCase>[0]>> = {
  "one token": { ...COMMON, tokens: 1 },
  "fewer keys than a block": { ...COMMON, tokens: 77, head_dim: 31 },
  "keys of two blocks": { ...COMMON, tokens: 577, batch: 1 },
  "shared key heads and limited scores": { ...COMMON, tokens: 130, heads: 4, soft_cap: 3 },
  "a sliding window": { ...COMMON, tokens: 150, window: 17 },
  "earlier keys of two blocks": { ...COMMON, tokens: 3, past: 600 },
  "a sliding window of several blocks": { ...COMMON, tokens: 1100, batch: 1, window: 530 },
};

const library = findProducts({ products: "auto", precisions: ["float32"] }).find((found) => found);
const skip = library ? false : "no library is installed in a usual place";

describe(`attention by ${library?.name ?? `a library is skipped: ${skip}`}`, { skip }, () => {
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
      const attended = attentionCase(size, [0, 0.1, 0.5, 0.02]), { buffers, params } = attended;
      await assertCase(one, attention, attended, { tolerance: 2e-6 });
      assert.deepEqual(
        await dispatchCase(three, attention, buffers(), params),
        await dispatchCase(one, attention, buffers(), params),
      );
    });
  }
});
