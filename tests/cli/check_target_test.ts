/** Tests which options `--target` refuses, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkTarget } from "../../src/cli/prune/check_target.ts";
import type { PruneOptions } from "../../src/cli/prune/prune_options.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

describe("checkTarget()", () => {
  const check = (options: Partial<PruneOptions>, query: LayerQuery = {}) =>
    checkTarget(
      { preset: "default", ...options } as PruneOptions,
      [{ name: "fc.weight", block: 0 }],
      () => query,
    );

  it("accepts a target with and without a step, and a run without both", () => {
    check({ target: "none", activations: "disk" }, { token_weights: "unit" });
    check({ target: "dense", activations: "auto" }, { target_step: 0.25 });
    check({ target: "dense", activations: "memory", trueSequential: true, plan: true }, { bits: 4 });
  });

  for (
    const [what, run, message] of [
      [
        "a step without a target",
        () => check({ target: "none" }, { target_step: 0.25 }),
        /^option --target-step 0\.25: needs --target dense, which gives fc\.weight a target/,
      ],
      ["states on disk", () => check({ target: "dense", activations: "disk" }), /--activations disk/],
    ] as const
  ) {
    it(`refuses ${what}`, () => assert.throws(run, { name: "UsageError", message }));
  }
});
