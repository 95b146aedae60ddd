/** Tests which options `--target` refuses, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkTarget } from "../../src/cli/prune/check_target.ts";
import type { PruneOptions } from "../../src/cli/prune/prune_options.ts";
import { linearSpec } from "../../src/model/layer_specs.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

describe("checkTarget()", () => {
  const layer = (expertRole?: string) => {
    const linear = { ...linearSpec("fc", 3, 2), expertRole };
    return { name: "fc.weight", block: 0, linear, rows: 2, cols: 3 };
  };
  const check = (
    options: Partial<PruneOptions>,
    query?: LayerQuery,
    hasServers?: boolean,
    expertRole?: string,
  ) => {
    const all = { preset: "default", ...options } as PruneOptions;
    checkTarget(all, hasServers ?? false, [layer(expertRole)], () => query ?? {});
  };

  it("accepts a target with and without a step, and a run without both", () => {
    check({ target: "none", plan: true, trueSequential: true, activations: "disk" }, {
      token_weights: "unit",
    }, true);
    check({ target: "dense", activations: "auto" }, { target_step: 0.25 });
    check({ target: "dense", activations: "memory" }, { token_weights: "unit", bits: 4 });
  });

  for (
    const [what, run, message] of [
      [
        "a step without a target",
        () => check({ target: "none" }, { target_step: 0.25 }),
        /^option --target-step 0\.25: needs --target dense, which gives fc\.weight a target/,
      ],
      ["servers", () => check({ target: "dense" }, {}, true), /^option --target dense: .*leave out --server/],
      [
        "true-sequential",
        () => check({ target: "dense", trueSequential: true }),
        /does not work with --true-sequential/,
      ],
      ["a plan", () => check({ target: "dense", plan: true }), /leave out --plan/],
      ["states on disk", () => check({ target: "dense", activations: "disk" }), /--activations disk/],
      ["experts", () => check({ target: "dense" }, {}, false, "down"), /fc\.weight is a layer of an expert/],
    ] as const
  ) {
    it(`refuses ${what}`, () => assert.throws(run, { name: "UsageError", message }));
  }
});
