/** Tests which options `--reconstruct` refuses, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { TargetSource } from "../../src/prune/run/job.ts";
import { checkReconstruct } from "../../src/cli/prune/check_reconstruct.ts";

describe("checkReconstruct()", () => {
  const layers = [{ name: "a", block: 0 }, { name: "b", block: 0 }];
  const check = (
    reconstruct: number,
    activations: "auto" | "disk",
    target: TargetSource = "none",
    pruned = "b",
  ) =>
    checkReconstruct(
      { reconstruct, activations, target, preset: "default" },
      layers,
      (name) => name === pruned ? { bits: 4 } : { bits: 4, sparsity: 0 },
    );

  it("accepts hidden states in memory, and everything without epochs", () => {
    check(10, "auto");
    check(0, "disk");
    check(0, "auto", "none", "no layer");
    check(1, "auto", "dense", "no layer");
  });

  it("refuses hidden states on disk", () => {
    assert.throws(() => check(3, "disk"), {
      name: "UsageError",
      message: /^option --reconstruct 3: .*--activations disk$/,
    });
  });

  it("refuses a run without targets that prunes no layer, because nothing changes before the rounding", () => {
    assert.throws(() => check(3, "auto", "none", "no layer"), {
      name: "UsageError",
      message: /^option --reconstruct 3: .*--sparsity 0 it needs --target dense$/,
    });
  });
});
