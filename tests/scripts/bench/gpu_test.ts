/** Tests the measurements of the GPU bench, and the stored variants of each adapter. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type KernelRate, measureKernels } from "../../../scripts/bench/measure/kernel_rates.ts";
import { fastestVariants, withEntry } from "../../../scripts/bench/measure/save_tuning.ts";
import { webgpuSkipReason } from "../../support/backends.ts";

function rate(kernel: string, variant: string, seconds: number): KernelRate {
  return { kernel, variant, seconds, gflops: 1 / seconds, gigabytesPerSecond: 2 / seconds };
}

describe("the GPU bench", () => {
  it("stores the fastest variant of each kernel, with one entry per adapter", () => {
    const tuning = fastestVariants([rate("x", "slow", 2), rate("x", "fast", 1), rate("y", "only", 3)]);
    assert.deepEqual(tuning, { x: "fast", y: "only" });
    const adapter = { vendor: "v", architecture: "a", device: "d", description: "one" };
    const other = { adapter: { ...adapter, device: "e" }, date: "1", tuning: {} };
    const stored = [{ adapter, date: "1", tuning: { x: "slow" } }, other];
    assert.deepEqual(withEntry(stored, { adapter, date: "2", tuning }), [other, {
      adapter,
      date: "2",
      tuning,
    }]);
  });

  it("times every shader variant of the kernels that take most of a solve's time", {
    skip: webgpuSkipReason ?? false,
  }, async () => {
    const rates = await measureKernels({ order: 128, rounds: 1 });
    assert.equal(new Set(rates.map(({ kernel, variant }) => `${kernel} ${variant}`)).size, rates.length);
    assert.ok(rates.length > 15 && rates.every(({ seconds }) => seconds > 0));
  });
});
