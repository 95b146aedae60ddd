/** Makes tokenizers whose merges reach over the ends of words, so that a wrong division of a text shows in its tokens. */

import { byteCharacters } from "../reference/bpe.ts";

/** The number of merges. */
const MERGES = 400;

/** The special tokens, and a token that was added without being special. */
const ADDED = ["<unk>", "<s>", "</s>", "<|user|>", "<tool>"];
const ADDED_TOKENS = ADDED.map((content, id) => ({
  ...{ id, content, special: content !== "<tool>", normalized: false },
  ...{ lstrip: false, rstrip: false, single_word: false },
}));

/** A word of `awkward_texts.ts` that is a token, although no merges make it. */
const UNMERGED = "ĠDON";

/** The texts in which the tests look for added tokens. */
export const TEXTS_WITH_ADDED_TOKENS = [
  ...[
    "<s>",
    "</s></s>",
    "<|user|>hello",
    "a<|user|> b <tool>c</s>",
    " <tool> ",
    "<tool><tool>\n<s>",
    "<unk>",
  ],
  ...["<|user|", "<s >", "1<s>2 3<tool>45", "\n<|user|>\n\n<|user|>\n"],
];

type Json = Readonly<Record<string, unknown>>;

/** Merges the most frequent pair again and again. Ties go to the pair that comes first. @param never matches what no merge makes */
function learnMerges(texts: readonly string[][], never?: RegExp): [string, string][] {
  const merges: [string, string][] = [];
  let words = texts;
  while (merges.length < MERGES) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (const [i, token] of word.slice(1).entries()) {
        const pair = `${word[i]} ${token}`;
        if (never?.test(word[i] + token)) continue;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const [best] = [...counts].reduce((a, b) => b[1] > a[1] ? b : a);
    const [left, right] = best.split(" ");
    merges.push([left, right]);
    words = words.map((word) => {
      const merged: string[] = [];
      for (const token of word) {
        if (token === right && merged.at(-1) === left) merged.push(merged.pop() + token);
        else merged.push(token);
      }
      return merged;
    });
  }
  return merges;
}

function define(
  tokens: readonly string[],
  merges: readonly [string, string][],
  model: Json,
  rules: Json,
): Json {
  const all = new Set([...ADDED, ...tokens, ...merges.map((pair) => pair.join(""))]);
  const vocab = Object.fromEntries([...all].map((token, id) => [token, id]));
  return {
    ...{ version: "1.0", truncation: null, padding: null, added_tokens: ADDED_TOKENS, normalizer: null },
    ...{ pre_tokenizer: null, post_processor: null, decoder: null, ...rules },
    model: { type: "BPE", unk_token: null, fuse_unk: false, byte_fallback: false, ...model, vocab, merges },
  };
}

/**
 * Returns the tokenizer.json of a tokenizer of byte-level BPE, learned from `texts`.
 * @param rules the member `pre_tokenizer`, and others that differ from the default
 * @param never matches what no merge makes
 */
export function byteLevelTokenizer(
  texts: readonly string[],
  rules: Json,
  model: Json = {},
  { never, unmerged = [UNMERGED] }: { readonly never?: RegExp; readonly unmerged?: readonly string[] } = {},
): Json {
  const characters = byteCharacters(), encoder = new TextEncoder();
  const words = texts.map((text) => [...encoder.encode(text)].map((byte) => characters[byte]));
  const merges = learnMerges(words, never);
  const decoder = { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };
  return define([...characters, ...unmerged], merges, model, { decoder, ...rules });
}

/** Returns the tokenizer.json of a tokenizer of SentencePiece, learned from `texts`, as transformers converts it. */
export function sentencePieceTokenizer(texts: readonly string[], rules: Json): Json {
  const learned = learnMerges(texts.map((text) => [..."▁" + text.replaceAll(" ", "▁")]));
  const results = [...new Set(learned.map((pair) => pair.join("")))],
    letters = new Set(learned.flat().flatMap((part) => [...part]));
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const known = new Set([...letters, ...results]);
  // SentencePiece has no list of merges, so every division of a token into two tokens is one.
  const merges = results.flatMap((token) => {
    const characters = [...token];
    return characters.slice(1).map((_, i): [string, string] => [
      characters.slice(0, i + 1).join(""),
      characters.slice(i + 1).join(""),
    ]).filter((pair) => pair.every((part) => known.has(part)));
  });
  return define(
    [...bytes, ...letters],
    merges,
    { unk_token: "<unk>", fuse_unk: true, byte_fallback: true },
    rules,
  );
}
