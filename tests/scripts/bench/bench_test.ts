/** Tests how benches are declared, and the parts that several of them share. */

import assert from "node:assert/strict";
import history from "../../../scripts/bench/results/history.json" with { type: "json" };
import { describe, it } from "@std/testing/bdd";
import { Command } from "commander";
import { benchNames, loadBench } from "../../../scripts/bench/bench.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { measureGemmRate } from "../../../scripts/bench/measure/gemm_rate.ts";
import { parseSizes } from "../../../scripts/bench/measure/layer_file.ts";
import { resultsUrl } from "../../../scripts/bench/report/results_file.ts";
import { median, percentile } from "../../../scripts/bench/measure/statistics.ts";
import { type KernelRate, measureKernels } from "../../../scripts/tune/kernel_rates.ts";
import { fastestVariants, withEntry } from "../../../scripts/tune/save_tuning.ts";
import { webgpuSkipReason } from "../../support/backends.ts";

describe("every bench", () => {
  for (const name of benchNames()) {
    it(`${name} declares a description, options without conflicts, and tables that render its committed results`, async () => {
      const { description, options, tables } = await loadBench(name);
      assert.match(description, /^[a-z`].*[^.]$/);
      options?.(new Command(name)); // throws if two options have the same name
      const results = JSON.parse(await Deno.readTextFile(resultsUrl(name, "json")));
      for (const [table, render] of Object.entries(tables)) {
        assert.match(render(results), /^\| /, table);
      }
    });
  }
});

it("loadBench() names all benches if there is none of the given name", async () => {
  await assert.rejects(() => loadBench("speed"), /there is no bench speed. The benches are .*layers/);
});

describe("parseSizes", () => {
  it("parses rows and columns, and returns no sizes for an empty list", () => {
    assert.deepEqual(parseSizes("3x5,768x3072"), [[3, 5], [768, 3072]]);
    assert.deepEqual(parseSizes(""), []);
  });

  it("rejects entries that are not sizes", () => {
    for (const list of ["3", "3x", "0x4", "3x5x7", "axb"]) {
      assert.throws(() => parseSizes(list), /is not ROWSxCOLS/, list);
    }
  });
});

it("the history of tried changes has no empty text", () => {
  for (const entry of history) {
    for (const text of Object.values(entry)) assert.ok(text.length > 0, JSON.stringify(entry));
  }
});

it("measureGemmRate() measures a finite rate, and frees its buffers", async () => {
  const backend = await createCpuBackend(), { order, gflops } = await measureGemmRate(backend, 64);
  assert.equal(order, 64);
  assert.ok(gflops > 0 && Number.isFinite(gflops));
  assert.equal(backend.counters.bytesLive, 0);
  await backend.dispose();
});

describe("median", () => {
  it("returns the middle value, or the mean of the two middle values", () => {
    assert.equal(median([9, 1, 5]), 5);
    assert.equal(median([9, 1, 5, 2]), 3.5);
    assert.ok(Number.isNaN(median([])));
  });
});

describe("percentile", () => {
  it("returns the value of the nearest rank", () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i); // 200 … 1
    assert.equal(percentile(values, 50), 100);
    assert.equal(percentile(values, 99), 198);
    assert.equal(percentile(values, 100), 200);
    assert.equal(percentile(values, 0), 1);
  });

  it("returns the only value of a list of one, and NaN for an empty list", () => {
    assert.equal(percentile([7], 99), 7);
    assert.ok(Number.isNaN(percentile([], 50)));
  });
});

function rate(kernel: string, variant: string, seconds: number): KernelRate {
  return { kernel, variant, seconds, gflops: 1 / seconds, gigabytesPerSecond: 2 / seconds };
}

describe("the rates of the kernels", () => {
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
