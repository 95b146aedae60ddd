/** Tests the text that comes with Pare. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { RUN_OPTIONS } from "../../../src/protocol/run/options.ts";
import { hasOwnText, OWN_TEXT_SEQLEN, ownText } from "../../../src/prune/texts/own_text.ts";

const [calibration, evaluation] = await Promise.all(
  (["calibration", "evaluation"] as const).map(async (use) => {
    const lines = (await Deno.readTextFile(ownText(use).path)).trimEnd().split("\n");
    return lines.map((line) => JSON.parse(line).text as string);
  }),
);

/** No tokenizer of a known model has more characters per token of English text and code. */
const MOST_CHARACTERS_PER_TOKEN = 5;

/** Returns the passages of documents with more than 60 characters. Short ones, such as `import` lines, occur in many files. */
function passages(documents: readonly string[]): string[] {
  return documents.flatMap((text) => text.split(/\n|(?<=\.) /)).filter((passage) =>
    passage.trim().length > 60
  );
}

describe("ownText()", () => {
  it("has a calibration text that is long enough for a run with the default windows", () => {
    const characters = calibration.reduce((sum, text) => sum + text.length, 0);
    const tokens = RUN_OPTIONS.samples.schema.parse(undefined) * OWN_TEXT_SEQLEN;
    assert.ok(characters >= MOST_CHARACTERS_PER_TOKEN * tokens, `${characters} characters, ${tokens} tokens`);
  });

  it("has an evaluation text that shares no passage with the calibration text", () => {
    const fitted = new Set(passages(calibration)), measured = passages(evaluation);
    assert.ok(measured.length > 200);
    assert.deepEqual(measured.filter((passage) => fitted.has(passage)), []);
  });

  it("has speeches, pages and source files in every quarter of the calibration text", () => {
    const kinds = [/Congress|citizens/, /^#+ /m, /^(import|from) |^const |^FROM /m];
    for (let part = 0; part < 4; part++) {
      const text = calibration.slice(part * calibration.length / 4, (part + 1) * calibration.length / 4).join(
        "\n",
      );
      for (const kind of kinds) assert.match(text, kind, `part ${part}`);
    }
  });

  it("takes at most 400 kB of the package", async () => {
    const sizes = (["calibration", "evaluation"] as const).map(async (use) =>
      (await Deno.stat(ownText(use).path)).size
    );
    const [first, second] = await Promise.all(sizes);
    assert.ok(first + second <= 400_000, `${first + second} bytes`);
  });
});

describe("hasOwnText()", () => {
  it("recognises the text with and without a share, and no file of the same name", () => {
    assert.ok(hasOwnText(["pare"]) && hasOwnText(["c4", "pare=0.5"]));
    assert.ok(!hasOwnText(["./pare", "pare.txt"]));
  });
});
