/** Tests which options `--reconstruct` refuses, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkReconstruct } from "../../src/cli/prune/check_reconstruct.ts";
import { linearSpec } from "../../src/model/layer_specs.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

describe("checkReconstruct()", () => {
  const layers = ["fc1", "fc2"].map((name) => (
    { name: `${name}.weight`, block: 0, linear: linearSpec(name, 3, 2), rows: 2, cols: 3 }
  ));
  const check = (reconstruct: number, activations: "auto" | "disk", query: LayerQuery) =>
    checkReconstruct(
      { reconstruct, activations, preset: "default" },
      layers,
      (name) => name.includes("fc2") ? query : {},
    );

  it("accepts epochs without rounding, and everything without epochs", () => {
    check(10, "auto", { sparsity: 0.7 });
    check(0, "disk", { bits: 4 });
  });

  it("refuses layers that are rounded, also by a profile", () => {
    const message =
      "option --reconstruct 10: trains weights that are not rounded, but fc2.weight is rounded to 4 bits";
    assert.throws(() => check(10, "auto", { bits: 4 }), { name: "UsageError", message });
  });

  it("refuses hidden states on disk", () => {
    assert.throws(() => check(3, "disk", {}), {
      name: "UsageError",
      message: /^option --reconstruct 3: .*--activations disk$/,
    });
  });
});
