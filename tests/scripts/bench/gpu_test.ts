/** Tests the GPU bench: its measurements, the stored variants of each adapter, and its tables. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { raceMatmuls } from "../../../scripts/bench/gpu/matmul_race.ts";
import history from "../../../scripts/bench/history.json" with { type: "json" };
import { type KernelRate, measureKernels } from "../../../scripts/bench/gpu/kernel_rates.ts";
import { ORDER_MULTIPLE, PUBLIC_MATMULS } from "../../../scripts/bench/gpu/public_matmuls.ts";
import { fastestVariants, withEntry } from "../../../scripts/bench/gpu/save_tuning.ts";
import { kernelTable, matmulTable } from "../../../scripts/bench/gpu/tables.ts";
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

  it("shows one row per shader, and the matrix product designs from the fastest to the slowest", () => {
    assert.equal(kernelTable([rate("x", "fast", 0.5)]).split("\n")[2], "| x | fast | 500.00 | 2.0 | 4.00 |");
    const designs = [{ design: "theirs", ours: false, gflops: 1 }, {
      design: "gemm",
      ours: true,
      gflops: 2.25,
    }];
    assert.deepEqual(matmulTable({ order: 64, matmuls: designs }).split("\n").slice(2), [
      "| **gemm** | 2.3 |",
      "| theirs | 1.0 |",
    ]);
  });

  it("has no empty text in any entry of its history of tried changes", () => {
    for (const entry of history) {
      for (const text of Object.values(entry)) assert.ok(text.length > 0, JSON.stringify(entry));
    }
  });

  it(
    "checks and times every public design of the matrix product",
    { skip: webgpuSkipReason ?? false },
    async () => {
      const rates = await raceMatmuls(2 * ORDER_MULTIPLE, 1);
      assert.deepEqual(
        rates.filter(({ ours }) => !ours).map(({ design }) => design),
        PUBLIC_MATMULS.map(({ name }) => name),
      );
      assert.ok(rates.every(({ gflops }) => gflops > 0 && Number.isFinite(gflops)));
    },
  );

  it("times every shader variant of the kernels that take most of a solve's time", {
    skip: webgpuSkipReason ?? false,
  }, async () => {
    const rates = await measureKernels({ order: 128, rounds: 1 });
    assert.equal(new Set(rates.map(({ kernel, variant }) => `${kernel} ${variant}`)).size, rates.length);
    assert.ok(rates.length > 15 && rates.every(({ seconds }) => seconds > 0));
  });
});
