/** Tests the check that the methods can solve the layers, before any of them is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkMethodSizes } from "../../src/cli/options/layer_options.ts";
import { linearSpec } from "../../src/model/layer_specs.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

describe("checkMethodSizes()", () => {
  const layers = [1024, 4096].map((cols, i) => {
    const name = "ab"[i], rows = 1024;
    return { name: `${name}.weight`, block: 0, linear: linearSpec(name, cols, rows), rows, cols };
  });
  const check = (queryOf: (name: string) => LayerQuery) => checkMethodSizes(layers, queryOf);

  it("accepts layers of other methods, whatever their size", () => {
    check((name) => ({ method: name === "a.weight" ? "obc" : "alps" }));
  });

  it("rejects a layer that is too large for obc, and names the layer and the limit", () => {
    assert.throws(() => check(() => ({ method: "obc" })), {
      name: "UsageError",
      message: /^option --method obc: b\.weight: .* has 4096 columns, but at most 3072 are possible/,
    });
  });
});
