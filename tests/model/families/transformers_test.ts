/** Compares every family with transformers on the CPU. `transformers_webgpu_slow_test.ts` does the same on WebGPU. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { onCpu } from "../../support/backends.ts";
import { compareFamilies, FIXTURES } from "../../support/compare_families.ts";

onCpu("the families of transformers on cpu", compareFamilies);

it("the variants of a family have different logits", () => {
  for (const [family, { variants }] of FIXTURES) {
    const distinct = new Set(
      variants.map(({ logits }) => [...logits].map((logit) => logit.toFixed(4)).join()),
    );
    assert.equal(distinct.size, variants.length, family);
  }
});
