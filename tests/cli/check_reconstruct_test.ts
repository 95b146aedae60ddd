/** Tests which options `--reconstruct` refuses, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkReconstruct } from "../../src/cli/prune/check_reconstruct.ts";

describe("checkReconstruct()", () => {
  const check = (reconstruct: number, activations: "auto" | "disk") =>
    checkReconstruct({ reconstruct, activations, preset: "default" });

  it("accepts hidden states in memory, and everything without epochs", () => {
    check(10, "auto");
    check(0, "disk");
  });

  it("refuses hidden states on disk", () => {
    assert.throws(() => check(3, "disk"), {
      name: "UsageError",
      message: /^option --reconstruct 3: .*--activations disk$/,
    });
  });
});
