/** The GPU bench: every design computes the product, a sweep's fastest variants are kept an adapter, and the tables say what was measured. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { raceGemm } from "../../scripts/bench/gpu/gemm_race.ts";
import history from "../../scripts/bench/history.json" with { type: "json" };
import { type KernelRate, measureKernels } from "../../scripts/bench/gpu/kernel_rates.ts";
import { ORDER_MULTIPLE, PUBLIC_MATMULS } from "../../scripts/bench/gpu/public_matmuls.ts";
import { fastest, withEntry } from "../../scripts/bench/gpu/save_tuning.ts";
import { gemmTable, kernelTable } from "../../scripts/bench/gpu/table.ts";
import { webgpuMissing } from "../support/backends.ts";

function rate(kernel: string, variant: string, seconds: number): KernelRate {
  return { kernel, variant, seconds, gflops: 1 / seconds, gigabytesPerSecond: 2 / seconds };
}

describe("the GPU bench", () => {
  it("keeps the fastest variant of a kernel, and one entry an adapter", () => {
    const tuning = fastest([rate("x", "slow", 2), rate("x", "fast", 1), rate("y", "only", 3)]);
    assert.deepEqual(tuning, { x: "fast", y: "only" });
    const adapter = { vendor: "v", architecture: "a", device: "d", description: "one" };
    const other = { adapter: { ...adapter, device: "e" }, date: "1", tuning: {} };
    const known = [{ adapter, date: "1", tuning: { x: "slow" } }, other];
    assert.deepEqual(withEntry(known, { adapter, date: "2", tuning }), [other, {
      adapter,
      date: "2",
      tuning,
    }]);
  });

  it("writes a row a shader, and the designs fastest first", () => {
    assert.equal(kernelTable([rate("x", "fast", 0.5)]).split("\n")[2], "| x | fast | 500.00 | 2.0 | 4.00 |");
    const designs = [{ design: "theirs", ours: false, gflops: 1 }, {
      design: "gemm",
      ours: true,
      gflops: 2.25,
    }];
    assert.deepEqual(gemmTable(64, designs).split("\n").slice(2), ["| **gemm** | 2.3 |", "| theirs | 1.0 |"]);
  });

  it("has a prediction and an outcome in every line of its history", () => {
    for (const line of history) {
      for (const text of Object.values(line)) assert.ok(text.length > 0, JSON.stringify(line));
    }
  });

  it("checks every design against float64 before it is timed", { skip: webgpuMissing ?? false }, async () => {
    const rates = await raceGemm(2 * ORDER_MULTIPLE, 1);
    assert.deepEqual(
      rates.filter(({ ours }) => !ours).map(({ design }) => design),
      PUBLIC_MATMULS.map(({ name }) => name),
    );
    assert.ok(rates.every(({ gflops }) => gflops > 0 && Number.isFinite(gflops)));
  });

  it("times every variant of every heavy kernel", { skip: webgpuMissing ?? false }, async () => {
    const rates = await measureKernels(128, 1);
    assert.equal(new Set(rates.map(({ kernel, variant }) => `${kernel} ${variant}`)).size, rates.length);
    assert.ok(rates.length > 15 && rates.every(({ seconds }) => seconds > 0));
  });
});
