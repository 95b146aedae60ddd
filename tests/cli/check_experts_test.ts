/** Tests which options `--experts-at-once` and `--all-experts` refuse, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { checkExperts } from "../../src/cli/prune/check_experts.ts";
import type { PruneOptions } from "../../src/cli/prune/prune_options.ts";
import { readModelSpec } from "../../src/model/families/families.ts";

describe("checkExperts()", () => {
  const [mixture, dense] = [FAMILY_MODELS.mixtral, FAMILY_MODELS.olmo2].map(({ base }) =>
    readModelSpec(base, () => false)
  );
  const check = (options: Partial<PruneOptions>, spec = mixture) =>
    checkExperts({ target: "none", reconstruct: 0, preset: "default", ...options } as PruneOptions, spec);

  it("accepts both options for a mixture, and neither for another model", () => {
    check({ expertsAtOnce: 2, allExperts: true });
    check({ allExperts: true, reconstruct: 1 });
    check({}, dense);
  });

  for (
    const [what, run, message] of [
      [
        "a model without experts",
        () => check({ allExperts: true }, dense),
        /^option --all-experts: needs a mixture/,
      ],
      [
        "targets",
        () => check({ expertsAtOnce: 2, target: "dense" }),
        /^option --experts-at-once 2: .* --target dense/,
      ],
      [
        "a copy of all tokens for every expert, and names the preset that asks for it",
        () => check({ allExperts: true, target: "dense", preset: "best" }),
        /^option --all-experts: .* --target dense, .* for every expert \(--preset best sets it/,
      ],
      ["a reconstruction", () => check({ expertsAtOnce: 2, reconstruct: 1 }), /--reconstruct/],
    ] as const
  ) {
    it(`refuses ${what}`, () => assert.throws(run, { name: "UsageError", message }));
  }
});
