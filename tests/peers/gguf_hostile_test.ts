/**
 * Tests that no name, token or template breaks the header of a file of `pare export`, which the library gguf reads. `tests/model/gguf` tests
 * which of them are refused.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomLlama } from "../../scripts/fixtures/make_random_llama.ts";
import { pareJson } from "../cli/run_pare.ts";
import { AWKWARD_TEXTS } from "../support/awkward_texts.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { describePeers } from "./describe_peers.ts";

const VOCABULARY = 2048;

/** Tokens that look like parts of a header or of an object, and a very long one. */
const TOKENS = [
  ...[
    "",
    "GGUF\u0003",
    "general.architecture",
    "__proto__",
    "constructor",
    "a\nb",
    '"',
    "\ufeff",
    "\u{10ffff}",
  ],
  "x".repeat(10 << 20),
];

/** A template of a million characters. */
const TEMPLATE = AWKWARD_TEXTS.join("").replaceAll("\0", "").repeat(1000).slice(0, 1 << 20);

await describePeers("the library gguf, reading a file of pare export with hostile texts", (peers) => {
  it("finds every token, the template and the name as they are", async () => {
    const name = '"a\n{{ b }} 👍🏽', folder = `${peers().folder}/${name}`, file = `${folder}/model.gguf`;
    const sizes = {
      hidden: 32,
      heads: 2,
      intermediate: 32,
      layers: 1,
      vocabulary: VOCABULARY,
      positions: 64,
    };
    await makeRandomLlama(folder, sizes);
    const added_tokens = TOKENS.map((content, id) => ({ id: 100 + id, content, special: true }));
    const tokenizer = { ...TINY_TOKENIZER, added_tokens, normalizer: null };
    await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(tokenizer));
    await Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify({ chat_template: TEMPLATE }));
    await pareJson("export", folder, "--format", "gguf:f16", "--out", file);
    const { fields } = await peers().ask<{ fields: Record<string, unknown> }>("comparisons/compare_gguf", {
      file,
    });
    const tokens = fields["tokenizer.ggml.tokens"] as string[];
    assert.equal(fields["general.name"], name);
    assert.equal(tokens.length, VOCABULARY);
    assert.deepEqual(tokens.slice(0, 5), Object.keys(TINY_TOKENIZER.model.vocab));
    assert.ok(TOKENS.every((token, i) => tokens[100 + i] === token));
    assert.ok(fields["tokenizer.chat_template"] === TEMPLATE);
  });
});
