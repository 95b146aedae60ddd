import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import {
  applyNames,
  presetHint,
  type PresetName,
  presetOptions,
  PRESETS,
} from "../../src/cli/prune/named_options.ts";
import { declarePrune, type PruneOptions } from "../../src/cli/prune/prune_options.ts";
import { words } from "./run_pare.ts";

function parse(...words: readonly string[]) {
  const command = declarePrune();
  command.parse(["model", "--out", "out", ...words], { from: "user" });
  return applyNames(command.opts<PruneOptions>(), command);
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

describe("--protocol sparsegpt", () => {
  it("sets the options of the published experiments, and leaves the sparsity to the command line", () => {
    const { method, calibration, samples, seqlen, seed, validation, windows, text, sparsity } = parse(
      ...["--protocol", "sparsegpt", "--sparsity", "0.7"],
    );
    assert.deepEqual({ method, calibration, samples, seqlen, seed, validation, windows, text, sparsity }, {
      method: "sparsegpt",
      calibration: ["c4"],
      samples: 128,
      seqlen: 2048,
      seed: 0,
      validation: 0,
      windows: undefined,
      text: ["wikitext2"],
      sparsity: "0.7",
    });
  });

  it("accepts equal options, files of its texts, and further texts", () => {
    const options = words`--calibration c4=a.gz --text more.txt --text wikitext2=b.parquet --samples 128`;
    const { calibration, text } = parse("--protocol", "sparsegpt", ...options);
    assert.deepEqual([calibration, text], [["c4=a.gz"], ["more.txt", "wikitext2=b.parquet"]]);
    assert.deepEqual(parse("--protocol", "sparsegpt", "--text", "c4").text, ["wikitext2", "c4"]);
  });

  for (
    const [words, message] of [
      [["--samples", "64"], "option --samples 64: --protocol sparsegpt sets it to 128"],
      [["--method", "alps"], "option --method alps: --protocol sparsegpt sets it to sparsegpt"],
      [["--calibration", "wikitext2"], "option --calibration wikitext2: --protocol sparsegpt sets it to c4"],
      [["--calibration", "c4.jsonl"], "option --calibration c4.jsonl: --protocol sparsegpt sets it to c4"],
      [["--validation", "0.25"], "option --validation 0.25: --protocol sparsegpt sets it to 0"],
      [
        ["--calibration", "c4", "--calibration", "code.txt"],
        "option --calibration c4,code.txt: --protocol sparsegpt sets it to c4",
      ],
      [["--windows", "8"], "option --windows 8: --protocol sparsegpt leaves it out"],
      [["--seed", "1"], "option --seed 1: --protocol sparsegpt sets it to 0"],
    ] as const
  ) {
    it(`refuses ${words.join(" ")}`, () => {
      assert.throws(() => parse("--protocol", "sparsegpt", ...words), { name: "UsageError", message });
    });
  }
});
