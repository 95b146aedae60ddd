/** Tests the conversion of tokenizers to the metadata of GGUF. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { text } from "../../../src/model/gguf/container.ts";
import { type ByteLevelTokens, preTokenizerName } from "../../../src/model/gguf/pre_tokenizers.ts";
import { vocabularyEntries } from "../../../src/model/gguf/vocabulary.ts";
import { TINY_TOKENIZER } from "../../support/tiny_tokenizer.ts";

type Json = Record<string, unknown>;

/** Returns the metadata by key, without `tokenizer.ggml.`. */
function convert(
  definition: Json,
  { rows = 6, settings = {}, config = {} }: { rows?: number; settings?: Json; config?: Json } = {},
) {
  const entries = vocabularyEntries({ definition, settings, path: "tokenizer.json" }, rows, config);
  return Object.fromEntries(entries.map(([key, { value }]) => [key.replace("tokenizer.ggml.", ""), value]));
}

/** A tokenizer as SentencePiece's are converted. The token `b` has no merge. */
const SENTENCEPIECE = {
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  added_tokens: [{ id: 1, content: "<s>", special: true }, { id: 7, content: "▁▁", special: false }],
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
  },
  model: {
    type: "BPE",
    byte_fallback: true,
    unk_token: "<unk>",
    vocab: { "<unk>": 0, "<s>": 1, "<0x0A>": 2, "▁": 3, a: 4, "▁a": 5, b: 6 },
    merges: [["▁", "a"]],
  },
};

describe("vocabularyEntries()", () => {
  it("converts a byte-level tokenizer, and pads the tokens to the rows of the table", () => {
    assert.deepEqual(
      convert(TINY_TOKENIZER, { settings: { bos_token: "</s>", eos_token: { content: "</s>" } } }),
      {
        model: "gpt2",
        pre: "gpt-2",
        tokens: ["</s>", "a", "b", "ab", "Ġ", "[PAD5]"],
        token_type: [3, 1, 1, 1, 1, 5],
        merges: ["a b"],
        bos_token_id: 0,
        eos_token_id: 0,
        add_bos_token: true,
        add_eos_token: false,
      },
    );
  });

  it("converts a byte-level tokenizer as one, also if it has the setting byte_fallback", () => {
    const model = { ...TINY_TOKENIZER.model, byte_fallback: true };
    assert.deepEqual(convert({ ...TINY_TOKENIZER, model }), convert(TINY_TOKENIZER));
  });

  it("converts a tokenizer of SentencePiece, with the order of its merges as scores", () => {
    assert.deepEqual(
      convert(SENTENCEPIECE, {
        rows: 8,
        settings: { unk_token: "<unk>" },
        config: { bos_token_id: 1, eos_token_id: [2, 5] },
      }),
      {
        model: "llama",
        pre: "default",
        tokens: ["<unk>", "<s>", "<0x0A>", "▁", "a", "▁a", "b", "  "],
        token_type: [2, 3, 6, 1, 1, 1, 1, 4],
        scores: [0, 0, 0, -1e6, -1e6, -0, -1e6, 0],
        add_space_prefix: true,
        bos_token_id: 1,
        eos_token_id: 2,
        unknown_token_id: 0,
        add_bos_token: true,
        add_eos_token: false,
      },
    );
  });

  it("takes the template of a chat, that of its own file first, and the one with the name default among several", () => {
    assert.equal(
      convert(TINY_TOKENIZER, { settings: { chat_template: "{{ x }}" } })["tokenizer.chat_template"],
      "{{ x }}",
    );
    const chat_template = [{ name: "tool", template: "t" }, { name: "default", template: "d" }];
    assert.equal(convert(TINY_TOKENIZER, { settings: { chat_template } })["tokenizer.chat_template"], "d");
    const files = { definition: TINY_TOKENIZER, settings: { chat_template }, path: "", chatTemplate: "f" };
    assert.deepEqual(vocabularyEntries(files, 5, {}).at(-1), ["tokenizer.chat_template", text("f")]);
  });

  it("refuses tokens that llama.cpp would not load, and names them", () => {
    const refused = (change: Json, message: RegExp) =>
      assert.throws(() => convert({ ...TINY_TOKENIZER, ...change }), { name: "ModelError", message });
    const { model } = TINY_TOKENIZER;
    refused(
      { added_tokens: [{ id: 6, content: "x" }] },
      /the token "x" has the id 6, but the table of tokens has 6 rows/,
    );
    refused({ added_tokens: [{ id: 5, content: "ab" }] }, /the ids 3 and 5 have the same token "ab"/);
    refused(
      { added_tokens: [{ id: 0, content: "[PAD5]" }] },
      /the ids 0 and 5 have the same token "\[PAD5\]"/,
    );
    refused(
      { model: { ...model, merges: [["a", " b"]] } },
      /the merge \["a"," b"\] is not two tokens without spaces/,
    );
    refused({ model: { ...model, merges: "ab" } }, /model\.merges must be an array, not "ab"/);
    refused({ model: { ...model, merges: [7] } }, /the merge 7 is not/);
    refused({ model: { type: "Unigram", vocab: [["a", 0]] } }, /type Unigram cannot be exported/);
    refused({ model: { ...model, type: "WordPiece" } }, /type WordPiece cannot be exported/);
  });

  it("refuses steps and merges that llama.cpp lacks, because it would give texts other tokens", () => {
    const refused = (change: Json, message: RegExp) =>
      assert.throws(() => convert({ ...SENTENCEPIECE, ...change }, { rows: 10 }), {
        name: "ModelError",
        message,
      });
    assert.throws(() => convert({ ...TINY_TOKENIZER, normalizer: { type: "Lowercase" } }), {
      message: /has the step \{"type":"Lowercase"\}, which cannot be exported/,
    });
    refused({ normalizer: { type: "Strip" } }, /has the step \{"type":"Strip"\}/);
    refused({ normalizer: [7] }, /has the step \[7\]/);
    const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
    refused({ pre_tokenizer: metaspace }, /has the step .*"Metaspace"/);
    const { model } = SENTENCEPIECE, vocab = { ...model.vocab, "▁ab": 8, ab: 9 };
    const merges = (...list: [string, string][]) => ({ model: { ...model, vocab, merges: list } });
    refused(
      merges(["▁", "a"], ["a", "b"], ["▁a", "b"]),
      /no merge of "▁" and "ab", but llama\.cpp would merge/,
    );
    refused(
      merges(["▁", "a"], ["▁a", "b"], ["a", "b"], ["▁", "ab"]),
      /the merges to "▁ab" must follow one another/,
    );
    convert({ ...SENTENCEPIECE, ...merges(["▁", "a"], ["a", "b"], ["▁a", "b"], ["▁", "ab"]) }, { rows: 10 });
    const long = { model: { ...model, vocab: { ...model.vocab, ["x".repeat(1001)]: 8 } } };
    refused(long, /the token "xxx.* has 1001 characters, and may have at most 1000/);
  });
});

describe("preTokenizerName()", () => {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
  const split = (Regex: string, how: Json = { behavior: "Isolated", invert: false }) => ({
    type: "Sequence",
    pretokenizers: [{ type: "Split", pattern: { Regex }, ...how }, byteLevel],
  });
  const nameOf = (rules: unknown, tokenizer: Partial<ByteLevelTokens> = {}) =>
    preTokenizerName({ rules, ignoresMerges: false, tokens: [], merges: [], ...tokenizer }, "tokenizer.json");
  const words = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
  const rest = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const removed = { behavior: "Removed", invert: true };
  const unmerged = { tokens: ["ab", "abc"], merges: ["a b"] };

  it("knows the rules of published models", async () => {
    const digits = {
      type: "Sequence",
      pretokenizers: [{ type: "Digits", individual_digits: true }, { ...byteLevel, use_regex: true }],
    };
    assert.equal(nameOf({ ...byteLevel, use_regex: true }), "gpt-2");
    assert.equal(nameOf(digits), "smollm");
    assert.equal(
      nameOf(split(`${words}\\p{N}{1,3}${rest}`), { ignoresMerges: true, ...unmerged }),
      "llama-bpe",
    );
    assert.equal(nameOf(split(`${words}\\p{N}{1,3}${rest}`), unmerged), "dbrx");
    assert.equal(nameOf(split(`${words}\\p{N}${rest}`)), "qwen2");
    assert.equal(nameOf(split(" ?[^(\\s|[.,!?…。，、।۔،])]+")), "bloom");
    assert.equal(nameOf(split(`${words}\\p{N}{1,3}${rest}`, removed)), "dbrx");
    const published = new URL("../../fixtures/pre_tokenizers.json", import.meta.url);
    for (const [name, rules] of Object.entries(JSON.parse(await Deno.readTextFile(published)))) {
      assert.equal(nameOf(rules), name);
    }
  });

  it("takes words whole, as model.ignore_merges does, also by rules that follow the merges, if merges make every token", () => {
    const rules = split(`${words}\\p{N}${rest}`);
    assert.equal(nameOf(rules, { ignoresMerges: true, tokens: ["a", "ab"], merges: ["a b"] }), "qwen2");
    for (const token of ["abc", "x".repeat(1001)]) {
      assert.throws(() => nameOf(rules, { ignoresMerges: true, tokens: ["ab", token], merges: ["a b"] }), {
        name: "ModelError",
        message:
          /^tokenizer\.json: no merges make the token "\w+"?, so model\.ignore_merges must be false for the rules qwen2/,
      });
    }
  });

  it("refuses tokens that the rules divide and llama.cpp does not", async () => {
    const published = new URL("../../fixtures/pre_tokenizers.json", import.meta.url);
    const rules = JSON.parse(await Deno.readTextFile(published));
    for (const [name, token] of [["falcon", "Ġ1"], ["falcon", "Ã¼"], ["deepseek-llm", "a12"]]) {
      assert.throws(() => nameOf(rules[name], { tokens: ["ab", token] }), {
        name: "ModelError",
        message:
          `tokenizer.json: pre_tokenizer divides the token "${token}", but the rules ${name} of llama.cpp do not`,
      });
    }
  });

  it("refuses other rules, and shows them", () => {
    const expression = " ?[^(\\s|[.,!?…。，、।۔،])]+";
    for (
      const rules of [null, 7, byteLevel, split("a+"), split("__proto__"), split(expression, removed), {
        ...byteLevel,
        use_regex: true,
        add_prefix_space: true,
      }]
    ) {
      assert.throws(() => nameOf(rules), {
        name: "ModelError",
        message: /tokenizer\.json: pre_tokenizer has rules that cannot be exported to GGUF: /,
      });
    }
  });
});
