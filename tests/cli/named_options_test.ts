import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import {
  applyNames,
  presetHint,
  type PresetName,
  presetOptions,
  PRESETS,
} from "../../src/cli/prune/named_options.ts";
import { declarePrune, type PruneFlags } from "../../src/cli/prune/prune_options.ts";

function parse(...words: readonly string[]) {
  const command = declarePrune();
  command.parse(["model", "--out", "out", ...words], { from: "user" });
  return applyNames(command.opts<PruneFlags>(), command);
}

describe("--preset", () => {
  const CALIBRATION = ["--calibration", "text.txt"];

  for (const name of Object.keys(PRESETS) as PresetName[]) {
    it(`${name} sets exactly the options that its help names`, () => {
      const { preset, ...options } = parse(...CALIBRATION, "--preset", name);
      const { preset: _, ...defaults } = parse(...CALIBRATION);
      assert.equal(preset, name);
      assert.deepEqual(options, { ...defaults, ...presetOptions(name) });
      const help = declarePrune().options.find(({ long }) => long === "--preset")!.description;
      for (const value of Object.values(presetOptions(name))) {
        assert.match(help, new RegExp(`${name} sets .*${value}`));
      }
    });
  }

  it("is overridden by each option, together with the options that depend on it", () => {
    const { method, effort, target } = parse(...CALIBRATION, "--preset", "best", "--method", "sparsegpt");
    assert.deepEqual({ method, effort, target }, { method: "sparsegpt", effort: undefined, target: "dense" });
    const other = parse(...CALIBRATION, "--preset", "best", "--target", "none");
    assert.deepEqual([other.target, other.effort], ["none", "best"]);
  });

  it("is refused beside a protocol", () => {
    assert.throws(() => parse("--protocol", "sparsegpt", "--preset", "fast"), {
      name: "UsageError",
      message: "option --preset fast: --protocol sparsegpt sets the same options",
    });
  });

  it("is named by the errors about its options", () => {
    assert.equal(presetHint("best", "target"), " (--preset best sets it, and --target overrides it)");
    assert.equal(presetHint("fast", "target"), "");
  });
});
