/** Tests which options of `pare prune` contradict each other or do not fit the model, before any layer is pruned. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { checkExperts, checkReconstruct, checkTarget } from "../../src/cli/prune/check_options.ts";
import type { PruneOptions } from "../../src/cli/prune/prune_options.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

const [mixture, dense] = (["mixtral", "olmo2"] as const).map((name) =>
  readModelSpec(FAMILY_MODELS[name].base, () => false)
);
const DEFAULTS = { target: "none", activations: "auto", reconstruct: 0, preset: "default" };
const optionsWith = (options: Partial<PruneOptions>) => ({ ...DEFAULTS, ...options }) as PruneOptions;

function experts(options: Partial<PruneOptions>, spec = mixture): void {
  checkExperts(optionsWith(options), spec);
}

/** Checks a run that prunes and rounds the layer `pruned`, and only rounds another one. */
function reconstruct(options: Partial<PruneOptions>, pruned = "b"): void {
  const layers = [{ name: "a", block: 0 }, { name: "b", block: 0 }];
  const queryOf = (name: string) => name === pruned ? { bits: 4 } : { bits: 4, sparsity: 0 };
  checkReconstruct(optionsWith(options), layers, queryOf);
}

function target(options: Partial<PruneOptions>, query: LayerQuery = {}): void {
  checkTarget(optionsWith(options), [{ name: "fc.weight", block: 0 }], () => query);
}

describe("the checks of options", () => {
  it("accept both options about experts for a mixture, and neither for another model", () => {
    experts({ expertsAtOnce: 2, allExperts: true });
    experts({ allExperts: true, reconstruct: 1 });
    experts({}, dense);
  });

  it("accept a reconstruction with hidden states in memory, and everything without epochs", () => {
    reconstruct({ reconstruct: 10 });
    reconstruct({ activations: "disk" });
    reconstruct({}, "no layer");
    reconstruct({ reconstruct: 1, target: "dense" }, "no layer");
  });

  it("accept a target with and without a step, and a run without both", () => {
    target({ activations: "disk" }, { token_weights: "unit" });
    target({ target: "dense" }, { target_step: 0.25 });
    target({ target: "dense", activations: "memory", trueSequential: true, plan: true }, { bits: 4 });
  });

  const refused: readonly (readonly [what: string, run: () => void, message: RegExp])[] = [
    [
      "options about experts for a model without experts",
      () => experts({ allExperts: true }, dense),
      /^option --all-experts: needs a mixture/,
    ],
    [
      "targets for a part of the experts",
      () => experts({ expertsAtOnce: 2, target: "dense" }),
      /^option --experts-at-once 2: .* --target dense/,
    ],
    [
      "a copy of all tokens for every expert, and name the preset that asks for it",
      () => experts({ allExperts: true, target: "dense", preset: "best" }),
      /^option --all-experts: .* --target dense, .* for every expert \(--preset best sets it/,
    ],
    [
      "a reconstruction with a part of the experts",
      () => experts({ expertsAtOnce: 2, reconstruct: 1 }),
      /^option --experts-at-once 2: .*--reconstruct/,
    ],
    [
      "a reconstruction with hidden states on disk",
      () => reconstruct({ reconstruct: 3, activations: "disk" }),
      /^option --reconstruct 3: .*--activations disk$/,
    ],
    [
      "a reconstruction without targets that prunes no layer, because nothing changes before the rounding",
      () => reconstruct({ reconstruct: 3 }, "no layer"),
      /^option --reconstruct 3: .*without zeros it needs --target dense, or a --sparsity above 0$/,
    ],
    [
      "a step without a target",
      () => target({}, { target_step: 0.25 }),
      /^option --target-step 0\.25: needs --target dense, which gives fc\.weight a target/,
    ],
    [
      "targets with hidden states on disk",
      () => target({ target: "dense", activations: "disk" }),
      /^option --target dense: .*--activations disk/,
    ],
  ];
  for (const [what, run, message] of refused) {
    it(`refuse ${what}`, () => assert.throws(run, { name: "UsageError", message }));
  }
});
