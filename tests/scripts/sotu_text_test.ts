/** The texts are byte for byte those the fixture models were measured on. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { sotuText } from "../../scripts/sotu_text.ts";

// tests/fixtures/README.md states where they come from.
const EXPECTED = {
  calibration: {
    bytes: 654292,
    sha256: "ce80145dee0f6e1125f7e08e735ad9de41e558721cf41a92262d8cf5394a91af",
  },
  evaluation: {
    bytes: 307961,
    sha256: "f2648e4f49ad66ee91b78f776e8edb11e2f9c50b58cdaca8623c8f91abdf9e4b",
  },
} as const;

describe("sotuText", () => {
  for (const part of ["calibration", "evaluation"] as const) {
    it(`makes the ${part} text of the split`, async () => {
      const bytes = new TextEncoder().encode(await sotuText(part));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      assert.deepEqual({ bytes: bytes.length, sha256 }, EXPECTED[part]);
    });
  }
});
