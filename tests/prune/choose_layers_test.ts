/** Tests the choice of layers: the patterns of names, the options, and the rules of profiles. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  type ChoiceOptions,
  chooseLayers,
  compileNamePattern,
  mergeParameters,
} from "../../src/prune/choose_layers.ts";
import { parseProfile } from "../../src/prune/profile.ts";

const LAYERS = [0, 1, 2].flatMap((block) =>
  ["attn.q_proj", "attn.out_proj", "fc1", "fc2"].map((name) => {
    return { name: `model.layers.${block}.${name}.weight`, block };
  })
);

/** Returns the chosen names without the prefix and the suffix that all names share. */
function chosen(options: ChoiceOptions): string[] {
  return [...chooseLayers(LAYERS, options).chosen.keys()].map((name) => name.slice(13, -7));
}

describe("compileNamePattern", () => {
  const name = "model.layers.10.self_attn.q_proj.weight";
  for (
    const [pattern, expected] of [
      ["q_proj", true],
      ["self_attn.q_proj", true],
      [name, true],
      [name.replace(".weight", ""), true],
      ["proj", false],
      ["0.self_attn.q_proj", false],
      ["10.self_attn.q_proj", true],
      ["*q_proj", true],
      ["*.q_proj", true],
      ["q_*", false],
      ["model.layers.1?.*", true],
      ["model.layers.?.*", false],
      ["/[qk]_proj/", true],
      ["/^q_proj/", false],
      ["/\\.1\\d\\./", true],
      ["self+attn.q_proj", false],
      ["self_attnXq_proj", false],
    ] as const
  ) {
    it(`compiles ${pattern} to a pattern that ${expected ? "matches" : "does not match"} ${name}`, () => {
      assert.equal(compileNamePattern(pattern)(name), expected);
    });
  }

  it("rejects an empty pattern and a malformed regular expression", () => {
    assert.throws(() => compileNamePattern(""), { name: "RangeError", message: /is empty/ });
    assert.throws(() => compileNamePattern("/(/"), {
      name: "RangeError",
      message: /layer pattern \/\(\/: .*/,
    });
  });
});

describe("chooseLayers", () => {
  it("chooses every layer by default", () => {
    const { chosen, skipped } = chooseLayers(LAYERS, {});
    assert.deepEqual([...chosen.keys()], LAYERS.map(({ name }) => name));
    assert.deepEqual(skipped, []);
  });

  it("chooses blocks from minBlock up to, but not including, maxBlock", () => {
    assert.deepEqual(chosen({ minBlock: 1, maxBlock: 2, layers: ["fc1", "fc2"] }), ["1.fc1", "1.fc2"]);
    assert.deepEqual(chosen({ minBlock: 2, layers: ["fc1"] }), ["2.fc1"]);
    assert.deepEqual(chosen({ maxBlock: 1, skip: ["*_proj"] }), ["0.fc1", "0.fc2"]);
  });

  it("lists the chosen and the skipped layers in the order of the model", () => {
    const { skipped } = chooseLayers(LAYERS, { layers: ["fc2", "q_proj"], skip: ["/layers\\.[12]/"] });
    assert.deepEqual(chosen({ layers: ["fc2", "q_proj"], maxBlock: 1 }), ["0.attn.q_proj", "0.fc2"]);
    assert.equal(skipped.length, 10);
    assert.equal(skipped[0], "model.layers.0.attn.out_proj.weight");
  });

  it("rejects a pattern or a rule that matches no layer, and options that choose no layer", () => {
    assert.throws(() => chosen({ layers: ["fc1", "fc3"] }), {
      name: "RangeError",
      message: /layers "fc3": matches no/,
    });
    assert.throws(
      () => chosen({ skip: ["k_proj"] }),
      /skip "k_proj": matches no layer.*model\.layers\.0\.attn/,
    );
    assert.throws(() => chosen({ minBlock: 3 }), /leaves none of the 12/);
    assert.throws(
      () => chosen({ profile: parseProfile('[{"match":"fc1"},{"match":"v_proj"}]') }),
      /profile rule 1 "v_proj": matches no layer/,
    );
  });

  it("lets later rules of a profile override earlier ones, parameter by parameter", () => {
    const profile = parseProfile(`[
      { "match": "fc2", "sparsity": 0.3, "damping": 0.1 },
      { "match": "*.1.*", "sparsity": 0.7 },
      { "match": "*.2.*", "skip": true },
      { "match": "2.fc2", "skip": false }
    ]`);
    const choice = chooseLayers(LAYERS, { profile, skip: ["out_proj"] });
    const parameters = Object.fromEntries(
      [...choice.chosen].map(([name, ofLayer]) => [name.slice(13, -7), ofLayer]),
    );
    assert.deepEqual(parameters, {
      "0.attn.q_proj": {},
      "0.fc1": {},
      "0.fc2": { sparsity: 0.3, damping: 0.1 },
      "1.attn.q_proj": { sparsity: 0.7 },
      "1.fc1": { sparsity: 0.7 },
      "1.fc2": { sparsity: 0.7, damping: 0.1 },
      "2.fc2": { sparsity: 0.3, damping: 0.1 },
    });
  });

  it("does not let a rule choose layers outside of the range of blocks", () => {
    const profile = parseProfile('[{ "match": "fc2", "skip": false }]');
    assert.deepEqual(chosen({ profile, maxBlock: 1, layers: ["fc1"] }), ["0.fc1", "0.fc2"]);
  });
});

describe("mergeParameters", () => {
  it("removes a sparsity that a new pattern would contradict, and no other sparsity", () => {
    assert.deepEqual(mergeParameters({ sparsity: 0.6, damping: 1 }, { pattern: "2:4" }), {
      damping: 1,
      pattern: "2:4",
    });
    assert.deepEqual(mergeParameters({ sparsity: 0.6 }, { pattern: "2:4", sparsity: 0.5 }), {
      pattern: "2:4",
      sparsity: 0.5,
    });
    assert.deepEqual(mergeParameters({ sparsity: 0.6 }, { damping: 0.1 }), { sparsity: 0.6, damping: 0.1 });
  });
});

describe("parseProfile", () => {
  for (
    const [what, text, message] of [
      ["a text that is not JSON", "[", /^profile: is not valid JSON/],
      ["a value that is not a list", "{}", /^profile: Invalid input: expected array/],
      ["a rule without a match", '[{"sparsity":0.5}]', /rule 0\.match/],
      ["an unknown key, and names it", '[{"match":"fc1","sparcity":0.5}]', /rule 0: .*sparcity/],
      ["statistics for a single layer", '[{"match":"fc1","hessian":"x"}]', /hessian/],
      ["a value that no parameter can have", '[{"match":"fc1","sparsity":[1]}]', /rule 0\.sparsity/],
    ] as const
  ) {
    it(`rejects ${what}`, () => {
      assert.throws(() => parseProfile(text), { name: "RangeError", message });
    });
  }

  it("reads an empty list", () => assert.deepEqual(parseProfile("[]"), []));
});
