/** Tests the small formats of the HTTP contract: digests, media types, problem documents and the version. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import manifest from "../../deno.json" with { type: "json" };
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { digestSchema } from "../../src/protocol/resources/fields.ts";
import { isSafetensorsType } from "../../src/protocol/headers.ts";
import { problemAnswer, problemSchema, Refusal } from "../../src/protocol/refusal.ts";
import { PROBLEMS } from "../../src/protocol/problem_codes.ts";
import { VERSION } from "../../src/protocol/version.ts";

describe("digests", () => {
  it("identify bytes by their SHA-256", async () => {
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i);
    const digest = formatDigest(await sha256(bytes));
    assert.equal(digest, `sha256:${createHash("sha256").update(bytes).digest("hex")}`);
    assert.ok(digestSchema.safeParse(digest).success);
  });

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

describe("isSafetensorsType", () => {
  it("accepts both media types of a safetensors file, with any parameters", () => {
    for (const type of ["application/vnd.safetensors", "Application/Octet-Stream ; q=1"]) {
      assert.ok(isSafetensorsType(type));
    }
    for (const type of [undefined, null, "", "application/json", "application/octet-streams"]) {
      assert.equal(isSafetensorsType(type), false);
    }
  });
});

describe("problem documents", () => {
  it("contain their status, title and further members", () => {
    const refusal = new Refusal("too_large", "too much", { members: { limit: 7 } });
    const problem = JSON.parse(problemAnswer(refusal, "id-1").body);
    assert.deepEqual(problemSchema.parse(problem), {
      type: "urn:pare:problem:too_large",
      title: PROBLEMS.too_large.title,
      status: 413,
      detail: "too much",
      code: "too_large",
      request_id: "id-1",
      limit: 7,
    });
  });
});

describe("the version", () => {
  it("is the same in the code and in deno.json", () => assert.equal(VERSION, manifest.version));
});
