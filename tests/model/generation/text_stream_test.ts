/** Tests that tokens that are decoded one by one give the same text as all tokens at once. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { TextStream } from "../../../src/model/generation/text_stream.ts";
import { encodeText, loadTokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { SHARED, sharedSkipReason } from "../../support/fixture_models.ts";
import { OPT_SOTU } from "../../support/opt_sotu.ts";

const PROMPT = "Once upon a time", TEXT = " naïve 🎉 日本語, and  two spaces.\nA line 👩‍👩‍👧.";

const STORIES = `${SHARED}/models/stories260K`, skip = await sharedSkipReason("models/stories260K");

describe("TextStream", () => {
  for (const [name, folder, reason] of [["byte-level", OPT_SOTU], ["SentencePiece", STORIES, skip]]) {
    it(`decodes the tokens of a ${name} tokenizer without broken characters`, { skip: reason }, async () => {
      const tokenizer = await loadTokenizer(folder!, denoFileSystem);
      const prompt = encodeText(tokenizer, PROMPT, "txt"), all = encodeText(tokenizer, PROMPT + TEXT, "txt");
      assert.deepEqual(all.subarray(0, prompt.length), prompt);
      const stream = new TextStream(tokenizer, prompt), pieces: string[] = [];
      for (const token of all.subarray(prompt.length)) pieces.push(stream.add(token));
      assert.equal(pieces.join(""), TEXT);
      assert.ok(pieces.filter((piece) => piece !== "").length > 15, "the text is complete only at its end");
      assert.equal(stream.end(), "");
    });
  }

  it("shows an incomplete character at the end, and no special tokens", async () => {
    const tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
    const prompt = encodeText(tokenizer, "A", "txt"), stream = new TextStream(tokenizer, prompt);
    const [first, ...rest] = encodeText(tokenizer, "A🎉", "txt").subarray(prompt.length);
    assert.ok(rest.length > 0);
    assert.equal(stream.add(first), "");
    assert.equal(stream.end(), "\ufffd");
    assert.equal(stream.add(2), "", "the end token");
  });
});
