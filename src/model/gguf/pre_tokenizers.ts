/**
 * The rules by which a byte-level tokenizer divides a text into words, and their names in llama.cpp (`src/llama-vocab.cpp`). llama.cpp has
 * the rules themselves in its code. The converter of llama.cpp finds the name by the ids of a sample text, which needs a list of all known
 * tokenizers. Here the name is found by the rules in tokenizer.json.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { isObject } from "../../base/json.ts";

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const WORDS = (numbers: string, mark = "") => {
  const letters = mark === "" ? "\\p{L}" : `[\\p{L}${mark}]`;
  return `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?${letters}+|${numbers}| ?[^\\s\\p{L}${mark}\\p{N}]+[\\r\\n]*` +
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
};
const CASED = (end: string, numbers: string) => {
  const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  return `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${end}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${end}|${numbers}` +
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
};

/** The letters of scripts that have capitals. */
const CASED_LETTERS =
  "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃";

type Step = Readonly<Record<string, unknown>>;

const split = (Regex: string): Step => ({
  type: "Split",
  pattern: { Regex },
  behavior: "Isolated",
  invert: false,
});
const digits = (individual_digits: boolean): Step => ({ type: "Digits", individual_digits });
const BYTES: Step = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
/** Divides by the expression of GPT-2. */
const GPT2_WORDS: Step = { ...BYTES, use_regex: true };

/** The members of steps that a file may leave out. */
const DEFAULTS: Step = { invert: false, use_regex: true };

/** Rules of llama.cpp. */
export interface DividingRules {
  readonly name: string;
  /** The steps of the pre-tokenizer in tokenizer.json. */
  readonly steps: readonly Step[];
  /** Whether a word that is a token is taken whole, also if no merges make it. Defaults to false. */
  readonly ignoresMerges?: boolean;
  /** Whether every character is in a match of the only expression, so that removing all else changes nothing. Defaults to false. */
  readonly matchesAll?: boolean;
  /** Matches the tokens that the steps divide and llama.cpp does not. A tokenizer that was trained with the steps has none. */
  readonly undivided?: RegExp;
}

const matchingAll = (name: string, expression: string, ignoresMerges = false): DividingRules => (
  { name, steps: [split(expression), BYTES], ignoresMerges, matchesAll: true }
);

export const DIVIDING_RULES: readonly DividingRules[] = [
  { name: "gpt-2", steps: [GPT2_WORDS] },
  { name: "smollm", steps: [digits(true), GPT2_WORDS] },
  matchingAll("llama-bpe", WORDS("\\p{N}{1,3}"), true),
  matchingAll("dbrx", WORDS("\\p{N}{1,3}")),
  matchingAll("qwen2", WORDS("\\p{N}")),
  matchingAll("qwen35", WORDS("\\p{N}", "\\p{M}")),
  matchingAll(
    "seed-coder",
    `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  ),
  matchingAll("tekken", CASED("", "\\p{N}"), true),
  matchingAll("gpt-4o", CASED(`${CONTRACTIONS}?`, "\\p{N}{1,3}")),
  { name: "bloom", steps: [split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), BYTES] },
  {
    name: "deepseek-v3",
    steps: [
      split("\\p{N}{1,3}"),
      split("[一-龥぀-ゟ゠-ヿ]+"),
      split(
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" +
          "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      ),
      BYTES,
    ],
  },
  {
    name: "deepseek-llm",
    steps: [
      split("[\\r\\n]"),
      split(`\\s?[${CASED_LETTERS}]+`),
      split("\\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-～\u{2018}-\u{201f}\u{3000}-\u{3002}]+"),
      split("\\s+$"),
      split("[一-龥ࠀ-一가-\u{d7ff}]+"),
      digits(true),
      BYTES,
    ],
    undivided: /\d\d/, // llama.cpp keeps the digits of a number together
  },
  {
    name: "falcon",
    steps: [
      { type: "Punctuation", behavior: "Contiguous" },
      GPT2_WORDS,
      digits(false),
      split("[0-9][0-9][0-9]"),
    ],
    // Some bytes of a character have digits and fractions as their letters, and the steps take these for numbers.
    undivided: /[\d²³¹¼-¾][^\d²³¹¼-¾]|[^\d²³¹¼-¾][\d²³¹¼-¾]/,
  },
];

/** A byte-level tokenizer. */
export interface ByteLevelTokens {
  /** The member `pre_tokenizer` of tokenizer.json. */
  readonly rules: unknown;
  /** The member `model.ignore_merges`. */
  readonly ignoresMerges: boolean;
  /** The tokens of texts, each as a letter per byte. */
  readonly tokens: readonly string[];
  /** Merges in their order, each as two tokens with a space between them. */
  readonly merges: readonly string[];
}

/**
 * Returns the name of the rules.
 * @throws {ModelError} if llama.cpp has no such rules, if their name is not known here, or if llama.cpp would find other tokens
 */
export function preTokenizerName(
  { rules, ignoresMerges, tokens, merges }: ByteLevelTokens,
  path: string,
): string {
  const steps = isObject(rules) && rules.type === "Sequence" && Array.isArray(rules.pretokenizers)
    ? rules.pretokenizers
    : [rules];
  const alike = DIVIDING_RULES.filter((known) => hasSteps(known, steps));
  if (alike.length === 0) {
    const shown = (JSON.stringify(rules) ?? "nothing").slice(0, 300);
    throw new ModelError(`${path}: pre_tokenizer has rules that cannot be exported to GGUF: ${shown}`);
  }
  const same = alike.find((known) => (known.ignoresMerges ?? false) === ignoresMerges);
  const { name, undivided } = same ?? alike[0];
  // If merges make every token, it does not matter whether words that are tokens are taken whole.
  const unmerged = same ? undefined : findUnmerged(tokens, merges);
  if (unmerged !== undefined) {
    throw new ModelError(
      `${path}: no merges make the token ${
        JSON.stringify(unmerged).slice(0, 60)
      }, so model.ignore_merges must be ` +
        `${!ignoresMerges} for the rules ${name} of llama.cpp`,
    );
  }
  const wrong = undivided && tokens.find((token) => undivided.test(token));
  if (wrong === undefined) return name;
  throw new ModelError(
    `${path}: pre_tokenizer divides the token ${
      JSON.stringify(wrong).slice(0, 60)
    }, but the rules ${name} of llama.cpp do not`,
  );
}

function hasSteps({ steps, matchesAll }: DividingRules, given: readonly unknown[]): boolean {
  return steps.length === given.length && steps.every((step, i) => {
    const other = given[i];
    if (!isObject(other)) return false;
    const all: Step = { ...DEFAULTS, ...other };
    const isRemoved = matchesAll && all.behavior === "Removed" && all.invert === true;
    const read = isRemoved ? { ...all, behavior: "Isolated", invert: false } : all;
    return Object.entries(step).every(([key, value]) => formatMember(read[key]) === formatMember(value));
  });
}

/** Some files have line ends in expressions, and others have their escape sequences. */
function formatMember(value: unknown): string {
  const { Regex: text } = isObject(value) ? value : {};
  return typeof text === "string"
    ? text.replaceAll("\r", "\\r").replaceAll("\n", "\\n")
    : JSON.stringify(value) ?? "";
}

/** The longest token whose divisions are checked, in characters. Their number grows as its square. */
export const MAX_TOKEN_CHARACTERS = 1000;

/** Returns a token that is not what merges make of its letters, or that is too long for this check. */
function findUnmerged(tokens: readonly string[], merges: readonly string[]): string | undefined {
  const ranks = new Map(merges.map((merge, rank) => [merge, rank]));
  return tokens.find((token) => {
    const parts = [...token];
    if (parts.length > MAX_TOKEN_CHARACTERS) return true;
    while (parts.length > 1) {
      let best = Infinity, at = 0;
      for (let i = 1; i < parts.length; i++) {
        const rank = ranks.get(`${parts[i - 1]} ${parts[i]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (best === Infinity) return true;
      parts.splice(at - 1, 2, parts[at - 1] + parts[at]);
    }
  });
}
