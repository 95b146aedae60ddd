/** Tests how benches are declared, and the rates of the shaders. */

import assert from "node:assert/strict";
import history from "../../../scripts/bench/results/history.json" with { type: "json" };
import { describe, it } from "@std/testing/bdd";
import { Command } from "commander";
import { benchNames, loadBench } from "../../../scripts/bench/bench.ts";
import { resultsUrl } from "../../../scripts/bench/report/results_file.ts";
import { measureKernels } from "../../../scripts/tune/kernel_rates.ts";
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

it("the history of tried changes has no empty text", () => {
  for (const entry of history) {
    for (const text of Object.values(entry)) assert.ok(text.length > 0, JSON.stringify(entry));
  }
});

describe("the rates of the kernels", () => {
  it("times every shader variant of the kernels that take most of a solve's time", {
    skip: webgpuSkipReason ?? false,
  }, async () => {
    const rates = await measureKernels({ order: 128, rounds: 1 });
    assert.equal(new Set(rates.map(({ kernel, variant }) => `${kernel} ${variant}`)).size, rates.length);
    assert.ok(rates.length > 15 && rates.every(({ seconds }) => seconds > 0));
  });
});
