/** Tests the command line of `deno task bench`. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parseSizes } from "../../../scripts/bench/measure/layer_sizes.ts";
import { parseArguments } from "../../../scripts/bench/options.ts";

describe("parseArguments", () => {
  it("selects the common layer sizes by default", () => {
    const options = parseArguments([]);
    assert.deepEqual(options.sizes, [[768, 768], [768, 3072], [2048, 2048], [4096, 4096]]);
    assert.deepEqual([options.backend, options.repeat, options.name], ["auto", 5, "layers"]);
    assert.deepEqual([options.http, options.inProcess, options.project], [false, true, undefined]);
  });

  it("adds the large layer sizes with --all", () => {
    assert.deepEqual(parseArguments(["--all"]).sizes.slice(4), [[4096, 11008], [8192, 8192]]);
  });

  it("selects the GPU bench with --gpu, and storing the fastest shaders with --save", () => {
    const { gpu, save } = parseArguments([]);
    assert.deepEqual([gpu, save], [false, false]);
    const requested = parseArguments(["--gpu", "--save"]);
    assert.deepEqual([requested.gpu, requested.save], [true, true]);
  });

  it("turns off the measurements in the bench's own process with --no-in-process", () => {
    assert.equal(parseArguments(["--no-in-process"]).inProcess, false);
  });
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
