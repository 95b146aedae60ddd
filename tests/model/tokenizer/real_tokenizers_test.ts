/**
 * Tests published tokenizers against a reference encoder that was written from the definition of byte-pair encoding. The files of
 * the tokenizers lie outside the repository. If they are missing, the tests are skipped.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer, readTokens } from "../../../src/model/tokenizer/tokenizer.ts";
import { gpt2Tokens, ranksOf, sentencePieceTokens } from "../../reference/bpe.ts";
import { writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const SHARED = fileURLToPath(new URL("../../../../shared", import.meta.url));
const OPT = `${SHARED}/tokenizers/opt`;
const STORIES = `${SHARED}/models/stories260K`;
const STORY_TEXT = `${SHARED}/text/tinystories-eval.jsonl`;

/** The tokenizer settings of an OPT checkpoint. */
const OPT_SETTINGS = {
  "tokenizer_config.json": {
    tokenizer_class: "GPT2Tokenizer",
    add_bos_token: true,
    bos_token: { content: "</s>" },
  },
  "special_tokens_map.json": { eos_token: "</s>", pad_token: "<pad>", unk_token: "</s>" },
};

const UNUSUAL_TEXTS = [
  "",
  " ",
  "Hello world",
  "  two  spaces and a tail  ",
  "don't we'll I'M  tabs\tand\n\n\nlines\r\n",
  "naïve café — “quotes” … 東京 🙂👩‍👩‍👧 e\u0301",
  "1234567890 3.14e-5 a1b2 x_y $€ <b>&amp;",
  "\u00a0no-break \u200bzero\ufeff",
];

function hasFiles(...paths: string[]): boolean {
  try {
    for (const path of paths) Deno.statSync(path);
    return true;
  } catch {
    console.log(`skipped: ${paths.join(" or ")} does not exist`);
    return false;
  }
}

async function readJson(path: string) {
  return JSON.parse(await Deno.readTextFile(path));
}

describe("the tokenizer of OPT", { skip: !hasFiles(OPT) }, () => {
  it("produces the published ids for one text, and the ids of the reference encoder for unusual texts", () =>
    withTemporaryFolder(async (folder) => {
      for (const name of ["vocab.json", "merges.txt"]) {
        await Deno.symlink(`${OPT}/${name}`, `${folder}/${name}`);
      }
      await writeFiles(folder, OPT_SETTINGS);
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual([...encodeText(tokenizer, "Hello world", "txt")], [2, 31414, 232]);
      const vocabulary = await readJson(`${OPT}/vocab.json`);
      const [, ...merges] = (await Deno.readTextFile(`${OPT}/merges.txt`)).trimEnd().split("\n");
      const ranks = ranksOf(merges);
      for (const text of UNUSUAL_TEXTS) {
        const expected = gpt2Tokens(text, ranks).map((token) => vocabulary[token]);
        assert.deepEqual([...encodeText(tokenizer, text, "txt")], [2, ...expected], JSON.stringify(text));
      }
      assert.deepEqual([...encodeText(tokenizer, "a</s>b<pad>", "txt")], [2, 102, 2, 428, 1]);
    }));
});

describe("the tokenizer of a LLaMA", { skip: !hasFiles(STORIES, STORY_TEXT) }, () => {
  it("produces the ids of the reference encoder, with <s> before each text", async () => {
    const tokenizer = await loadTokenizer(STORIES, denoFileSystem);
    const { model: { vocab, merges } } = await readJson(`${STORIES}/tokenizer.json`);
    const ranks = ranksOf(merges);
    const stories = (await Deno.readTextFile(STORY_TEXT)).split("\n").slice(0, 6).map((line) =>
      JSON.parse(line).text
    );
    for (const text of [...UNUSUAL_TEXTS.slice(2), ...stories]) {
      const expected = sentencePieceTokens(text, ranks, vocab).map((token) => vocab[token]);
      assert.deepEqual([...encodeText(tokenizer, text, "txt")], [1, ...expected], JSON.stringify(text));
    }
  });

  it("produces as many windows of 512 tokens as the README of the model states, and one <s> per document", async () => {
    const tokens = await readTokens(await loadTokenizer(STORIES, denoFileSystem), STORY_TEXT, denoFileSystem);
    assert.equal(Math.floor(tokens.length / 512), 106);
    const stories = (await Deno.readTextFile(STORY_TEXT)).split("\n").filter((line) => line !== "").length;
    assert.equal(tokens.filter((token) => token === 1).length, stories);
  });
});

describe("a tokenizer like BLOOM's", () => {
  it("splits at punctuation, parentheses and bars like BLOOM, and adds no special tokens", () =>
    withTemporaryFolder(async (folder) => {
      const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
      const letters = Object.fromEntries([..."abĠ(|),.Ċ"].map((letter, id) => [letter, id + 1]));
      const merges = ["a (", "( b", "a |", "b )", "Ġ (", "a b", "a .", "Ġ a", "Ċ a"];
      const merged = Object.fromEntries(merges.map((pair, i) => [pair.replace(" ", ""), 50 + i]));
      const split = {
        type: "Split",
        pattern: { Regex: " ?[^(\\s|[.,!?…。，、।۔،])]+" },
        behavior: "Isolated",
        invert: false,
      };
      await writeFiles(folder, {
        "tokenizer.json": {
          version: "1.0",
          added_tokens: [{ id: 0, content: "<s>", special: true, normalized: false }],
          normalizer: null,
          pre_tokenizer: { type: "Sequence", pretokenizers: [split, bytes] },
          post_processor: bytes,
          decoder: bytes,
          model: { type: "BPE", vocab: { "<s>": 0, ...letters, ...merged }, merges },
        },
        "tokenizer_config.json": {
          tokenizer_class: "BloomTokenizerFast",
          bos_token: "<s>",
          add_prefix_space: false,
        },
      });
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      const { tokens } = tokenizer.encode("a(b) a|b (ab)\na.b ab");
      assert.deepEqual(tokens, [..."a(b)", "Ġa", "|", "b", "Ġ(", "ab", ")", "Ċ", "a", ".", "b", "Ġ", "ab"]);
    }));
});
