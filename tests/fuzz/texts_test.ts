/** Fuzzes the parsers of short texts: patterns, digests, ranges, keys, origins, ids and references to models. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { describe } from "@std/testing/bdd";
import { parseRange } from "../../src/edge/requests/preconditions.ts";
import { ModelError } from "../../src/base/files/file_error.ts";
import { listedDigest } from "../../src/model/hub/download.ts";
import { parseReference } from "../../src/model/hub/reference.ts";
import { parseOrigins } from "../../src/protocol/cors.ts";
import { formatDigest } from "../../src/protocol/digest.ts";
import { digestSchema, idSchema } from "../../src/protocol/resources/fields.ts";
import { requestIdOf } from "../../src/protocol/headers.ts";
import { parseKeys, SCOPES } from "../../src/protocol/keys.ts";
import { formatPattern, MAX_GROUP, parsePattern } from "../../src/tensor/pattern.ts";
import { near } from "./arbitraries/damaged_bytes.ts";
import { fuzz, unlessRefused } from "./property.ts";

const isRangeError = (error: unknown) => error instanceof RangeError;
const isModelError = (error: unknown) => error instanceof ModelError;

const HEX = "0123456789abcdef".repeat(4);

describe("fuzzing short texts", () => {
  fuzz("pattern", near("unstructured", "2:4", "16:32", "127:128", "1:2"), async (text) => {
    const pattern = await unlessRefused(() => parsePattern(text), isRangeError);
    if (!pattern) return "refused";
    assert.deepEqual(parsePattern(formatPattern(pattern)), pattern);
    if (pattern.kind === "n:m") {
      assert.ok(1 <= pattern.keep && pattern.keep < pattern.group && pattern.group <= MAX_GROUP);
    }
    return "accepted";
  });

  fuzz("digest", near(`sha256:${HEX}`, `SHA256:${HEX}`, HEX), (text) => {
    if (!digestSchema.safeParse(text).success) return "refused";
    assert.equal(formatDigest(Uint8Array.fromHex(text.slice("sha256:".length))), text);
    return "accepted";
  });

  const range = near("bytes=0-9", "bytes=5-", "bytes=-5", "bytes=0-0,2-3", "bytes=999999999999999-");
  fuzz(
    "range header",
    fc.tuple(range, fc.oneof(fc.nat(20), fc.constantFrom(0, 1, 2 ** 40))),
    ([header, size]) => {
      const range = parseRange(header, size);
      if (typeof range !== "object") return "refused";
      const { offset, length } = range;
      assert.ok(Number.isSafeInteger(offset) && offset >= 0 && length > 0 && offset + length <= size);
      return "accepted";
    },
  );

  fuzz("keys", near(HEX, `${HEX}:solve+read`, `${HEX}:layers, ${HEX}`, ""), async (text) => {
    const keys = await unlessRefused(() => parseKeys(text), (error) => {
      assert.ok(!String(error).includes(HEX.slice(0, 16)), "the error must not contain a digest");
      return isRangeError(error);
    });
    if (!keys) return "refused";
    for (const { digest, scopes } of keys) {
      assert.equal(digest.length, 32);
      assert.ok(scopes.size > 0 && [...scopes].every((scope) => SCOPES.includes(scope)));
    }
    return "accepted";
  });

  fuzz(
    "origins",
    near("https://app.example.com", "http://localhost:8000,https://a.b", "null"),
    async (text) => {
      const origins = await unlessRefused(() => parseOrigins(text), isRangeError);
      if (!origins) return "refused";
      for (const origin of origins) assert.equal(new URL(origin).origin, origin);
      return "accepted";
    },
  );

  fuzz("id", near("host-1", "A.b_c-9", "x".repeat(64)), (text) => {
    if (!idSchema.safeParse(text).success) return "refused";
    assert.equal(encodeURIComponent(text), text);
    return "accepted";
  });

  fuzz("request id", near("a-b:c.d_E", "x".repeat(64)), (text) => {
    const id = requestIdOf(text);
    assert.match(id, /^[A-Za-z0-9._:-]{1,64}$/);
    return id === text ? "accepted" : "refused";
  });

  fuzz("reference to a hub model", near("hf:some/model", "hf:a/b@v1.0", "hf:a/b@refs/pr/1"), async (text) => {
    const reference = await unlessRefused(() => parseReference(text), isModelError);
    if (!reference) return "refused";
    const path = new URL(`file:///cache/${reference.repo}/${reference.revision}`).pathname;
    assert.equal(path, `/cache/${reference.repo}/${reference.revision}`, "the path must stay in its folder");
    return "accepted";
  });

  fuzz("digest of a hub listing", near(HEX, HEX.slice(24)), async (oid) => {
    const entry = { type: "file", path: "config.json", size: 1, oid } as Parameters<typeof listedDigest>[0];
    const digest = await unlessRefused(() => listedDigest(entry), isModelError);
    if (digest === undefined) return "refused";
    assert.ok([20, 32].includes(Uint8Array.fromHex(digest).length));
    return "accepted";
  });
});
