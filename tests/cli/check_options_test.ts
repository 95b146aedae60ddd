/** Tests which options of `pare prune` contradict each other or do not fit the model, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { checkConflicts, checkLayers } from "../../src/cli/prune/check_options.ts";
import type { PruneOptions } from "../../src/cli/prune/prune_options.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

const [mixture, dense] = (["mixtral", "olmo2"] as const).map((name) =>
  readModelSpec(FAMILY_MODELS[name].base, () => false)
);
const DEFAULTS = { target: "none", activations: "auto", reconstruct: 0, preset: "default" };

/** Checks a run whose layer `pruned` is pruned and rounded, and whose other layer is only rounded. */
function check(options: Partial<PruneOptions>, query?: LayerQuery, spec = mixture, pruned = "b"): void {
  const given = { ...DEFAULTS, ...options } as PruneOptions;
  const layers = [{ name: "a.weight", block: 0 }, { name: "b.weight", block: 0 }];
  const rounded = (name: string) => name === `${pruned}.weight` ? { bits: 4 } : { bits: 4, sparsity: 0 };
  checkConflicts(given);
  checkLayers(given, layers, (name) => query ?? rounded(name), spec);
}

const noLayer = (options: Partial<PruneOptions>) => check(options, undefined, mixture, "no layer");

describe("the checks of options", () => {
  it("accept both options about experts for a mixture, and neither for another model", () => {
    check({ expertsAtOnce: 2, allExperts: true });
    check({ allExperts: true, reconstruct: 1 });
    check({}, undefined, dense);
  });

  it("accept a reconstruction with hidden states in memory, and everything without epochs", () => {
    check({ reconstruct: 10 });
    check({ activations: "disk" });
    noLayer({});
    noLayer({ reconstruct: 1, target: "dense" });
  });

  it("accept a target with and without a step, and a run without both", () => {
    check({ activations: "disk" }, { token_weights: "unit" });
    check({ target: "dense" }, { target_step: 0.25 });
    check({ target: "dense", activations: "memory", trueSequential: true, plan: true }, { bits: 4 });
  });

  const refused: readonly (readonly [what: string, run: () => void, message: RegExp])[] = [
    [
      "options about experts for a model without experts",
      () => check({ allExperts: true }, undefined, dense),
      /^option --all-experts: needs a mixture/,
    ],
    [
      "targets for a part of the experts",
      () => check({ expertsAtOnce: 2, target: "dense" }),
      /^option --experts-at-once 2: .* --target dense/,
    ],
    [
      "a copy of all tokens for every expert, and name the preset that asks for it",
      () => check({ allExperts: true, target: "dense", preset: "best" }),
      /^option --all-experts: .* --target dense, .* for every expert \(--preset best sets it/,
    ],
    [
      "a reconstruction with a part of the experts",
      () => check({ expertsAtOnce: 2, reconstruct: 1 }),
      /^option --experts-at-once 2: .*--reconstruct/,
    ],
    [
      "a reconstruction with hidden states on disk",
      () => check({ reconstruct: 3, activations: "disk" }),
      /^option --reconstruct 3: .*--activations disk$/,
    ],
    [
      "a reconstruction without targets that prunes no layer, because nothing changes before the rounding",
      () => noLayer({ reconstruct: 3 }),
      /^option --reconstruct 3: .*without zeros it needs --target dense, or a --sparsity above 0$/,
    ],
    [
      "a step without a target",
      () => check({}, { target_step: 0.25 }),
      /^option --target-step 0\.25: needs --target dense, which gives a\.weight a target/,
    ],
    [
      "targets with hidden states on disk",
      () => check({ target: "dense", activations: "disk" }),
      /^option --target dense: .*--activations disk/,
    ],
  ];
  for (const [what, run, message] of refused) {
    it(`refuse ${what}`, () => assert.throws(run, { name: "UsageError", message }));
  }
});
