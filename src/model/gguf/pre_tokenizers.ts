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

/** Rules of llama.cpp that divide a text by one regular expression. */
interface DividingRules {
  readonly name: string;
  readonly expression: string;
  /** Whether a word that is a token is taken whole, also if no merges make it. */
  readonly ignoresMerges: boolean;
}

export const DIVIDING_RULES: readonly DividingRules[] = [
  { name: "llama-bpe", expression: WORDS("\\p{N}{1,3}"), ignoresMerges: true },
  { name: "dbrx", expression: WORDS("\\p{N}{1,3}"), ignoresMerges: false },
  { name: "qwen2", expression: WORDS("\\p{N}"), ignoresMerges: false },
  { name: "tekken", expression: CASED("", "\\p{N}"), ignoresMerges: true },
  { name: "gpt-4o", expression: CASED(`${CONTRACTIONS}?`, "\\p{N}{1,3}"), ignoresMerges: false },
  { name: "bloom", expression: " ?[^(\\s|[.,!?…。，、।۔،])]+", ignoresMerges: false },
];

/**
 * Returns the name of the rules.
 * @param rules the member `pre_tokenizer` of tokenizer.json
 * @param ignoresMerges the member `model.ignore_merges`
 * @throws {ModelError} if llama.cpp has no such rules, or if their name is not known here
 */
export function preTokenizerName(rules: unknown, ignoresMerges: boolean, path: string): string {
  const steps = isObject(rules) && rules.type === "Sequence" && Array.isArray(rules.pretokenizers)
    ? rules.pretokenizers
    : [rules];
  const [last, ...before] = steps.toReversed();
  if (isObject(last) && last.type === "ByteLevel" && last.add_prefix_space === false && before.length < 2) {
    const [first] = before, hasWords = last.use_regex !== false;
    const name = hasWords
      ? ignoresMerges ? undefined : nameOfWords(first)
      : nameOfSplit(first, ignoresMerges);
    if (name !== undefined) return name;
  }
  const shown = (JSON.stringify(rules) ?? "nothing").slice(0, 300);
  const condition = ignoresMerges ? " with model.ignore_merges" : "";
  throw new ModelError(
    `${path}: pre_tokenizer has rules that cannot be exported to GGUF${condition}: ${shown}`,
  );
}

/** Returns the name of the rules of GPT-2 after the step `first`. */
function nameOfWords(first: unknown): string | undefined {
  if (first === undefined) return "gpt-2";
  // Every digit is a word of its own.
  return isObject(first) && first.type === "Digits" && first.individual_digits === true
    ? "smollm"
    : undefined;
}

function nameOfSplit(first: unknown, ignoresMerges: boolean): string | undefined {
  if (!isObject(first) || first.type !== "Split" || !isObject(first.pattern)) return undefined;
  const { behavior, invert, pattern: { Regex: pattern } } = first;
  // Every character is in a match of these expressions, except of bloom's, so removing what lies between matches changes nothing.
  const isRemoved = behavior === "Removed" && invert === true;
  return DIVIDING_RULES.find((rules) =>
    (behavior === "Isolated" || isRemoved && rules.name !== "bloom") && rules.expression === pattern &&
    rules.ignoresMerges === ignoresMerges
  )?.name;
}
