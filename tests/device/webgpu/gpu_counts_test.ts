/** Tests the counts of a layer's work on a GPU with the limits of an H100. They need no GPU. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { countLayer } from "../../support/gpu_counts/count_layer.ts";
import { H100 } from "../../support/gpu_counts/recording_backend.ts";

describe("a layer of OPT-175B with the limits of an H100", () => {
  it("of 12288×12288 runs at least 95 % of its product flops in dispatches with two workgroups per processor", async () => {
    const { total, factor, solve, edge } = await countLayer(H100, 12288, 12288);
    assert.equal(edge, 16384);
    assert.ok(total.filledShare >= 0.95, `${total.filledShare}`);
    assert.ok(factor.filledShare >= 0.95, `${factor.filledShare}`);
    assert.equal(solve.filledShare, 1);
    assert.equal(total.waits, 3, "the diagonal, the status of the factorisation, and the sums at the end");
    assert.equal(total.bytesWritten, 4 * 12288, "the damped diagonal");
  });

  it("counts the flops of a factorisation, n³/3, within the waste of its blocks", async () => {
    const n = 4096, { factor } = await countLayer(H100, n, n);
    const exact = n ** 3 / 3 / 1e12;
    assert.ok(factor.productTeraflops > exact && factor.productTeraflops < 1.2 * exact);
  });
});
