import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parseSparsities, sweepPoints } from "../../../src/cli/sweep/points.ts";

describe("parseSparsities()", () => {
  for (
    const [list, expected] of [
      ["0.5", [0.5]],
      [".25,0", [0.25, 0]],
      ["0.1..0.8", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]],
      ["0.5..0.56:0.02, 0.9", [0.5, 0.52, 0.54, 0.56, 0.9]],
      ["0.1..0.25", [0.1, 0.2]],
      ["0.3..0.3,0.3", [0.3]],
    ] as const
  ) {
    it(`parses the list ${list}`, () => assert.deepEqual(parseSparsities(list), expected));
  }

  for (
    const list of [
      ...["", "1", "0.5,", "-0.1", "50%"],
      ...["0.8..0.1", "0.1..1", "0.1..0.5:0", "0.1..0.5..0.9", "1e-1"],
    ]
  ) {
    it(`refuses the list ${JSON.stringify(list)}`, () => {
      assert.throws(() => parseSparsities(list), { name: "UsageError", message: /--sparsities .*must be a/ });
    });
  }
});

describe("sweepPoints()", () => {
  it("orders the points by method, with sparsities before patterns", () => {
    const points = sweepPoints({ methods: "magnitude,sparsegpt", sparsities: "0.5", patterns: "2:4,1:4" });
    assert.deepEqual(points.map(({ method, pattern, sparsity }) => [method, pattern, sparsity]), [
      ["magnitude", "unstructured", 0.5],
      ["magnitude", "2:4", 0.5],
      ["magnitude", "1:4", 0.75],
      ["sparsegpt", "unstructured", 0.5],
      ["sparsegpt", "2:4", 0.5],
      ["sparsegpt", "1:4", 0.75],
    ]);
  });

  for (
    const [what, lists, message] of [
      ["an unknown method", { methods: "prayer", patterns: "2:4" }, /option --methods prayer: .*sparsegpt/],
      ["an empty list of methods", { methods: "", patterns: "2:4" }, /--methods .*without empty entries/],
      [
        "a pattern that breaks the rule",
        { methods: "magnitude", patterns: "4:2" },
        /option --patterns 4:2: .*1 ≤ n < m/,
      ],
      ["unstructured as a pattern", { methods: "magnitude", patterns: "unstructured" }, /must be n:m/],
    ] as const
  ) {
    it(`refuses ${what}`, () => assert.throws(() => sweepPoints(lists), { name: "UsageError", message }));
  }

  it("refuses an option of rounding that a pattern contradicts, and names the option and its value", () => {
    assert.throws(
      () => sweepPoints({ methods: "sparsegpt", patterns: "4:8" }, { bits: 4, group_size: 6 }),
      {
        name: "UsageError",
        message: /^option --group-size 6: 6 is not a multiple of 8, the group of pattern 4:8/,
      },
    );
  });
});
