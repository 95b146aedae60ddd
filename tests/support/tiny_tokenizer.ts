/** The tokenizer.json of a small tokenizer. It has tokens for a, b, ab and a space, and puts `</s>` before every document. */

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const SPECIAL = { special: true, normalized: false, lstrip: false, rstrip: false, single_word: false };

/** The definition. It is a tokenizer of byte-level BPE. */
export const TINY_TOKENIZER = {
  version: "1.0",
  added_tokens: [{ id: 0, content: "</s>", ...SPECIAL }],
  normalizer: { type: "NFC" },
  pre_tokenizer: byteLevel,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "</s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "</s>": { id: "</s>", ids: [0], tokens: ["</s>"] } },
  },
  decoder: byteLevel,
  model: { type: "BPE", vocab: { "</s>": 0, a: 1, b: 2, ab: 3, "Ġ": 4 }, merges: ["a b"], unk_token: null },
};
