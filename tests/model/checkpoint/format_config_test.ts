/** Tests that a changed config.json keeps the digits of the settings that did not change. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { formatConfig } from "../../../src/model/checkpoint/write/write_plan.ts";

const ORIGINAL = `{
  "cap": 30.0, "count": 2, "eps": 1e-05, "large": 12345678901234567890,
  "nested": { "theta": 10000.0, "list": [1.0, 2, "3.0", null, true] },
  "text": "1.0", "nothing": null, "old": 1.0
}`;

function format(change: (config: Record<string, unknown>) => Record<string, unknown>): string {
  const config = JSON.parse(ORIGINAL);
  return formatConfig(ORIGINAL, config, change(config));
}

describe("formatConfig()", () => {
  it("writes the numbers of unchanged settings as they were", () => {
    assert.equal(
      format((config) => config),
      `{
  "cap": 30.0,
  "count": 2,
  "eps": 1e-05,
  "large": 12345678901234567890,
  "nested": {
    "theta": 10000.0,
    "list": [
      1.0,
      2,
      "3.0",
      null,
      true
    ]
  },
  "text": "1.0",
  "nothing": null,
  "old": 1.0
}
`,
    );
  });

  it("writes the values of changed and added settings, and leaves out removed ones", () => {
    const text = format(({ old: _, ...config }) => ({ ...config, cap: 4, added: { weights: 0.5 } }));
    assert.match(text, /"cap": 4,/);
    assert.match(text, /"added": {\n {4}"weights": 0.5\n {2}}/);
    assert.doesNotMatch(text, /old/);
    assert.match(text, /"theta": 10000.0,/);
  });
});
