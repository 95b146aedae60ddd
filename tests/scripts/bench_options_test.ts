/** The benches' command line. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parseOptions, parseSizes } from "../../scripts/bench/options.ts";

describe("parseOptions", () => {
  it("times the common sizes unless told otherwise", () => {
    const options = parseOptions([]);
    assert.deepEqual(options.sizes, [[768, 768], [768, 3072], [2048, 2048], [4096, 4096]]);
    assert.deepEqual([options.backend, options.repeat, options.name], ["auto", 5, "layers"]);
    assert.deepEqual([options.http, options.inProcess, options.project], [false, true, undefined]);
  });

  it("adds the large sizes with --all", () => {
    assert.deepEqual(parseOptions(["--all"]).sizes.slice(4), [[4096, 11008], [8192, 8192]]);
  });

  it("times the GPU's shaders, and keeps what it finds, only when told", () => {
    const { gpu, save } = parseOptions([]);
    assert.deepEqual([gpu, save], [false, false]);
    const told = parseOptions(["--gpu", "--save"]);
    assert.deepEqual([told.gpu, told.save], [true, true]);
  });

  it("leaves out what is measured in process when told", () => {
    assert.equal(parseOptions(["--no-in-process"]).inProcess, false);
  });
});

describe("parseSizes", () => {
  it("reads rows and columns; none from an empty list", () => {
    assert.deepEqual(parseSizes("3x5,768x3072"), [[3, 5], [768, 3072]]);
    assert.deepEqual(parseSizes(""), []);
  });

  it("refuses what is no size", () => {
    for (const list of ["3", "3x", "0x4", "3x5x7", "axb"]) {
      assert.throws(() => parseSizes(list), /is not ROWSxCOLS/, list);
    }
  });
});
