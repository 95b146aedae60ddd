/** Tests that no name, token or template breaks the header of a file of `pare export`, which the library gguf reads. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomLlama } from "../../scripts/fixtures/make_random_llama.ts";
import { pareJson, runPare } from "../cli/run_pare.ts";
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
  /** Makes a small model. Returns its folder. */
  async function makeModel(name: string, added: readonly string[], chat_template: string): Promise<string> {
    const folder = `${peers().folder}/${name}`, sizes = { hidden: 32, heads: 2, intermediate: 32 };
    await makeRandomLlama(folder, { ...sizes, layers: 1, vocabulary: VOCABULARY, positions: 64 });
    const added_tokens = added.map((content, id) => ({ id: 100 + id, content, special: true }));
    await Deno.writeTextFile(
      `${folder}/tokenizer.json`,
      JSON.stringify({ ...TINY_TOKENIZER, added_tokens, normalizer: null }),
    );
    await Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify({ chat_template }));
    return folder;
  }

  it("finds every token, the template and the name as they are", async () => {
    const name = '"a\n{{ b }} 👍🏽',
      folder = await makeModel(name, TOKENS, TEMPLATE),
      file = `${folder}/model.gguf`;
    await pareJson("export", folder, "--format", "gguf:f16", "--out", file);
    const { fields } = await peers().ask<{ fields: Record<string, unknown> }>("compare_gguf", { file });
    const tokens = fields["tokenizer.ggml.tokens"] as string[];
    assert.equal(fields["general.name"], name);
    assert.equal(tokens.length, VOCABULARY);
    assert.deepEqual(tokens.slice(0, 5), Object.keys(TINY_TOKENIZER.model.vocab));
    assert.ok(TOKENS.every((token, i) => tokens[100 + i] === token));
    assert.ok(fields["tokenizer.chat_template"] === TEMPLATE);
  });

  for (
    const [title, added, template, message] of [
      [
        "a token with NUL",
        ["a\0b"],
        "",
        /tokens has "a\\u0000b", but llama\.cpp ends a text at the character NUL/,
      ],
      [
        "a template with NUL",
        [],
        "{{ a }}\0",
        /chat_template has "\{\{ a \}\}\\u0000", but llama\.cpp ends a text/,
      ],
      ["half of a surrogate pair", ["\ud800"], "", /tokens has .*, which is no Unicode text/],
      [
        "a template of 17 MB",
        [],
        "x".repeat(17 << 20),
        /chat_template has 17825792 bytes, and may have at most/,
      ],
      ["two equal tokens", ["a b", "a b"], "", /the ids 100 and 101 have the same token "a b"/],
      ["more tokens than rows", Array.from({ length: VOCABULARY }, String), "", /has 2048 rows/],
    ] as const
  ) {
    it(`has no file to read with ${title}, because pare export refuses it`, async () => {
      const folder = await makeModel(title, added, template), file = `${folder}/model.gguf`;
      const { code, stderr } = await runPare("export", folder, "--format", "gguf:f16", "--out", file);
      assert.equal(code, 3, stderr);
      assert.match(stderr, message);
      await assert.rejects(Deno.stat(file), Deno.errors.NotFound);
    });
  }
});
