/** Tests the list of origins that may use the API from a browser. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { parseOrigins } from "../../src/protocol/cors.ts";

describe("parseOrigins", () => {
  it("reads origins, and none from an empty text", () => {
    assert.deepEqual(parseOrigins(""), []);
    assert.deepEqual(parseOrigins("https://a.example, http://localhost:5173,"), [
      "https://a.example",
      "http://localhost:5173",
    ]);
  });

  it("refuses everything that a browser would not send as an origin, and names the entry", () => {
    for (
      const entry of [
        "*",
        "null",
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://A.example",
        "file://",
      ]
    ) {
      assert.throws(
        () => parseOrigins(`https://b.example,${entry}`),
        (error) =>
          error instanceof RangeError &&
          error.message.startsWith("PARE_CORS_ORIGINS entry 2: must be an origin"),
        entry,
      );
    }
  });
});
