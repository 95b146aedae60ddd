/**
 * The rules by which a byte-level tokenizer divides a text into words, and their names in llama.cpp (`src/llama-vocab.cpp`). llama.cpp has
 * the rules themselves in its code. The converter of llama.cpp finds the name by the ids of a sample text, which needs a list of all known
 * tokenizers. Here the name is found by the rules in tokenizer.json.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { isObject } from "../../tensor/safetensors/header_json.ts";

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const WORDS = (numbers: string) =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const CASED = (end: string, numbers: string) => {
  const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  return `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${end}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${end}|${numbers}` +
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
};

/** The names by the regular expression that divides the text. */
const BY_EXPRESSION: Readonly<Record<string, string>> = {
  [WORDS("\\p{N}{1,3}")]: "llama-bpe",
  [WORDS("\\p{N}")]: "qwen2",
  [CASED("", "\\p{N}")]: "tekken",
  [CASED(`${CONTRACTIONS}?`, "\\p{N}{1,3}")]: "gpt-4o",
  " ?[^(\\s|[.,!?…。，、।۔،])]+": "bloom",
};

/**
 * Returns the name of the rules.
 * @param rules the member `pre_tokenizer` of tokenizer.json
 * @throws {ModelError} if llama.cpp has no such rules, or if their name is not known here
 */
export function preTokenizerName(rules: unknown, path: string): string {
  const steps = isObject(rules) && rules.type === "Sequence" && Array.isArray(rules.pretokenizers)
    ? rules.pretokenizers
    : [rules];
  const [last, ...before] = steps.toReversed();
  if (isObject(last) && last.type === "ByteLevel" && last.add_prefix_space === false) {
    if (before.length === 0 && last.use_regex !== false) return "gpt-2";
    const [first, ...others] = before;
    if (others.length === 0 && isObject(first)) {
      // Every digit is a word of its own, and the rules of GPT-2 divide the rest.
      if (first.type === "Digits" && first.individual_digits === true && last.use_regex !== false) {
        return "smollm";
      }
      const pattern = isObject(first.pattern) ? first.pattern.Regex : undefined;
      const isSplit = first.type === "Split" && first.behavior === "Isolated" && last.use_regex === false;
      if (isSplit && typeof pattern === "string" && Object.hasOwn(BY_EXPRESSION, pattern)) {
        return BY_EXPRESSION[pattern];
      }
    }
  }
  const shown = JSON.stringify(rules) ?? "nothing";
  throw new ModelError(
    `${path}: pre_tokenizer has rules that cannot be exported to GGUF: ${shown.slice(0, 300)}`,
  );
}
