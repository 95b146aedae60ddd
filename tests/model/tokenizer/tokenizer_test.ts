/** Tests loading a checkpoint's tokenizer and reading text files as tokens. opt-sotu is a small OPT model among the test fixtures. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer, readTokens } from "../../../src/model/tokenizer/tokenizer.ts";
import { writeFiles } from "../../support/checkpoint_files.ts";
import { OPT_SOTU, readReference, sotuTokens } from "../../support/opt_sotu.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

/** The files of a tokenizer that has tokens for a, b and ab, and puts `</s>` before every document. */
const BPE_FILES = {
  "vocab.json": { "</s>": 0, a: 1, b: 2, ab: 3, "Ġ": 4, "Ċ": 5 },
  "merges.txt": "#version: 0.2\na b\n",
  "tokenizer_config.json": { bos_token: { content: "</s>" }, add_bos_token: true },
};

describe("the tokenizer of opt-sotu", () => {
  it("produces the ids in the reference file of the model", async () => {
    const reference = await readReference();
    const evaluation = await sotuTokens("evaluation");
    assert.equal(evaluation.length, reference.eval.tokens);
    assert.deepEqual([...evaluation.subarray(0, 64)], reference.eval.first_64_ids);
  });
});

describe("a tokenizer of vocab.json and merges.txt", () => {
  it("merges pairs, and starts each document with the configured token", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, BPE_FILES);
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual([...encodeText(tokenizer, "abb a", "txt")], [0, 3, 2, 4, 1]);
      const lines = '{"text": "ab"}\n\n{"text": "b\\na", "more": 1}\r\n';
      assert.deepEqual([...encodeText(tokenizer, lines, "jsonl")], [0, 3, 0, 2, 5, 1]);
    }));

  it("adds no special token if none is configured", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { ...BPE_FILES, "tokenizer_config.json": {} });
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual([...encodeText(tokenizer, "ab", "txt")], [3]);
    }));

  it("reads special tokens from special_tokens_map.json, and further ones from added_tokens.json", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, {
        ...BPE_FILES,
        "tokenizer_config.json": { add_bos_token: true, unk_token: null },
        "special_tokens_map.json": { bos_token: "<new>", pad_token: { content: "</s>" } },
        "added_tokens.json": { "<new>": 6 },
      });
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual([...encodeText(tokenizer, "a<new>b</s>", "txt")], [6, 1, 6, 2, 0]);
    }));

  it("refuses a special token that is not in the vocabulary", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { ...BPE_FILES, "tokenizer_config.json": { bos_token: "<s>" } });
      await assert.rejects(loadTokenizer(folder, denoFileSystem), {
        name: "ModelError",
        message: /vocab.json: lacks the special token <s>/,
      });
    }));
});

describe("readTokens", () => {
  it("reads a .jsonl file as one document per line, and any other file as one document", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, {
        ...BPE_FILES,
        "text.jsonl": '{"text": "a"}\n{"text": "b"}',
        "text.txt": "ab\n",
      });
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual([...await readTokens(tokenizer, `${folder}/text.jsonl`, denoFileSystem)], [
        0,
        1,
        0,
        2,
      ]);
      assert.deepEqual([...await readTokens(tokenizer, `${folder}/text.txt`, denoFileSystem)], [0, 3, 5]);
    }));

  it("reads every kind of line ending as a newline", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, { ...BPE_FILES, "text.txt": "a\r\nb\ra\n" });
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual(
        [...await readTokens(tokenizer, `${folder}/text.txt`, denoFileSystem)],
        [0, 1, 5, 2, 5, 1, 5],
      );
    }));

  for (
    const [line, pattern] of [
      ['{"text": "b"', /text.jsonl: line 3: is not valid JSON/],
      ['{"text": 5}', /text.jsonl: line 3: must be an object with a string "text"/],
      ['["b"]', /text.jsonl: line 3: must be an object with a string "text"/],
    ] as const
  ) {
    it(`names the file and line of the malformed line ${line}`, () =>
      withTemporaryFolder(async (folder) => {
        await writeFiles(folder, { "text.jsonl": `{"text": "a"}\n\n${line}\n` });
        const tokenizer = await loadTokenizer(OPT_SOTU, denoFileSystem);
        await assert.rejects(readTokens(tokenizer, `${folder}/text.jsonl`, denoFileSystem), {
          name: "ModelError",
          message: pattern,
        });
      }));
  }
});

describe("loadTokenizer", () => {
  it("refuses a folder without a tokenizer, and a malformed tokenizer", () =>
    withTemporaryFolder(async (folder) => {
      await assert.rejects(
        loadTokenizer(folder, denoFileSystem),
        /has no tokenizer; it needs tokenizer.json, or vocab.json and merges.txt$/,
      );
      await writeFiles(folder, { "tokenizer.model": "of SentencePiece" });
      await assert.rejects(
        loadTokenizer(folder, denoFileSystem),
        /Convert its tokenizer.model to tokenizer.json with transformers: AutoTokenizer/,
      );
      await writeFiles(folder, { "tokenizer.json": { model: { type: "Magic" } } });
      await assert.rejects(loadTokenizer(folder, denoFileSystem), { name: "ModelError" });
    }));
});

describe("a tokenizer.json with unusable parts", () => {
  const model = { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] };
  const parts = { decoder: null, normalizer: null, post_processor: null, pre_tokenizer: null };
  const added = (id: unknown) => ({ model, added_tokens: [{ id, content: "<s>", special: true }] });
  const refusals: readonly (readonly [definition: Record<string, unknown>, reason: RegExp])[] = [
    [
      { model: { ...model, vocab: { a: 0.5 } } },
      /the id of the token "a" must be a whole number .*, got 0\.5$/,
    ],
    [{ model: { ...model, vocab: { a: "1" } } }, /the id of the token "a" .*, got "1"$/],
    [{ model: { ...model, vocab: { a: -1 } } }, /the id of the token "a" .*, got -1$/],
    [{ model: { ...model, vocab: { a: 2 ** 32 } } }, /the id of the token "a" .*, got 4294967296$/],
    [{ model: { ...model, vocab: "ab" } }, /model\.vocab must be an object or an array$/],
    [
      { model: { ...model, type: "Unigram", vocab: [["a", "x"]] } },
      /must be a token and a number, got \["a","x"\]$/,
    ],
    [
      { model: { ...model, type: "WordLevel" } },
      /model\.type must be BPE, WordPiece, Unigram, got "WordLevel"$/,
    ],
    [{ model: { vocab: { a: 0 } } }, /model\.type must be .*, got nothing$/],
    [{ model: [] }, /model must be an object$/],
    [added(1.5), /the id of the token "<s>" .*, got 1\.5$/],
    [added("2"), /the id of the token "<s>" .*, got "2"$/],
    [{ ...added(0), added_tokens: ["<s>"] }, /each of added_tokens must have a content, got "<s>"$/],
  ];
  for (const [definition, reason] of refusals) {
    it(`is refused: ${JSON.stringify(definition)}`, () =>
      withTemporaryFolder(async (folder) => {
        await writeFiles(folder, {
          "tokenizer.json": { added_tokens: [], ...parts, ...definition },
          "tokenizer_config.json": {},
        });
        await assert.rejects(loadTokenizer(folder, denoFileSystem), { name: "ModelError", message: reason });
      }));
  }

  it("is refused when a text has a token without an id", () =>
    withTemporaryFolder(async (folder) => {
      await writeFiles(folder, {
        "tokenizer.json": { added_tokens: [], ...parts, model: { ...model, unk_token: "<unk>" } },
        "tokenizer_config.json": {},
      });
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      assert.deepEqual([...encodeText(tokenizer, "ab", "txt")], [0, 1]);
      assert.throws(() => encodeText(tokenizer, "abc", "txt"), {
        name: "ModelError",
        message: /needs the token "<unk>", for which the tokenizer has no id/,
      });
    }));
});
