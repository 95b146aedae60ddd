/** Tests the declarations of the benches, from which the command line, the results files and the tables follow. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Command } from "commander";
import { benchNames, loadBench } from "../../../scripts/bench/bench.ts";
import history from "../../../scripts/bench/results/history.json" with { type: "json" };
import { parseSizes } from "../../../scripts/bench/measure/layer_sizes.ts";
import { resultsUrl } from "../../../scripts/bench/report/results_file.ts";

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
