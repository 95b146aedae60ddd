/** Tests the spelling of digests, and the version. `tests/routes` tests media types and problem documents. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { digestSchema } from "../../src/protocol/resources/fields.ts";
import { VERSION } from "../../src/protocol/version.ts";

describe("digests", () => {
  it("have only one valid spelling", () => {
    for (
      const text of [
        "",
        "sha256:",
        `sha256:${"A".repeat(64)}`,
        `sha1:${"a".repeat(64)}`,
        ` sha256:${"a".repeat(64)}`,
      ]
    ) {
      assert.equal(digestSchema.safeParse(text).success, false, text);
    }
  });
});

describe("the version", () => {
  it("is the same in the code and in deno.json", () => assert.equal(VERSION, manifest.version));
});
