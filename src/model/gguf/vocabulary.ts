/**
 * Converts a tokenizer to the metadata of GGUF, as `conversion/base.py` in github.com/ggml-org/llama.cpp does. Two kinds of tokenizers can
 * be converted: byte-level BPE (`gpt2`), and BPE with a token for each byte, which comes from SentencePiece (`llama`).
 */

import { ModelError } from "../../base/files/file_error.ts";
import { isObject } from "../../base/json.ts";
import type { TokenizerFiles } from "../tokenizer/tokenizer.ts";
import { bool, type MetadataEntry, text, u32 } from "./container.ts";
import { MAX_TOKEN_CHARACTERS, preTokenizerName } from "./pre_tokenizers.ts";

/** The types of tokens in llama.cpp. */
const TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** The roles of special tokens: the name in tokenizer_config.json and config.json, and the key in GGUF. */
const ROLES = {
  bos: "bos",
  eos: "eos",
  unk: "unknown",
  sep: "seperator",
  pad: "padding",
  mask: "mask",
} as const;

/** The token of a byte, such as `<0x0A>`. */
const BYTE_TOKEN = /^<0x[0-9A-F]{2}>$/;

/** The character that stands for a space in the tokens of SentencePiece. */
const SPACE = "▁";

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
}

/** The members of tokenizer.json that are used. `check_definition.ts` has checked the ids. */
interface Definition {
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly type?: string;
    readonly merges?: unknown;
    readonly unk_token?: string | null;
    readonly ignore_merges?: boolean;
    readonly byte_fallback?: boolean;
  };
  readonly added_tokens?: readonly AddedToken[];
}

/**
 * @param rows the rows of the table of tokens. Each needs a token
 * @param config the object in config.json, which may have the ids of special tokens
 * @throws {ModelError} if the tokenizer is of another kind, or if llama.cpp would not accept its tokens or would find others
 */
export function vocabularyEntries(
  { definition, settings, path, chatTemplate }: TokenizerFiles,
  rows: number,
  config: Readonly<Record<string, unknown>>,
): MetadataEntry[] {
  const { model, added_tokens: added = [] } = definition as unknown as Definition;
  const { pre_tokenizer: rules } = definition;
  // A byte-level tokenizer may have the setting too, which changes nothing, because every byte is a token.
  const isByteLevel = model.byte_fallback !== true ||
    stepsOf(rules, "pretokenizers").some((step) => isObject(step) && step.type === "ByteLevel");
  if ((model.type ?? "BPE") !== "BPE" || Array.isArray(model.vocab)) {
    throw new ModelError(
      `${path}: a tokenizer of the type ${model.type ?? "Unigram"} cannot be exported to GGUF`,
    );
  }
  checkSteps(definition, isByteLevel, path);
  const { tokens, types } = listTokens(model, added, rows, path, isByteLevel);
  const { merges: stored = [] } = model;
  if (!Array.isArray(stored)) {
    throw new ModelError(`${path}: model.merges must be an array, not ${quoted(stored)}`);
  }
  const merges = stored.map((merge) => mergeText(merge, path));
  const special = new Set(added.map(({ content }) => content));
  const words = Object.keys(model.vocab).filter((token) => !special.has(token));
  const pre = isByteLevel
    ? preTokenizerName({ rules, ignoresMerges: model.ignore_merges === true, tokens: words, merges }, path)
    : "default";
  const template = chatTemplate ?? defaultTemplate(settings.chat_template);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  return [
    ["tokenizer.ggml.model", text(isByteLevel ? "gpt2" : "llama")],
    ["tokenizer.ggml.pre", text(pre)],
    ["tokenizer.ggml.tokens", { type: "text", value: tokens }],
    ["tokenizer.ggml.token_type", { type: "i32", value: types }],
    ...isByteLevel ? [["tokenizer.ggml.merges", { type: "text", value: merges }] as const] : [
      ["tokenizer.ggml.scores", { type: "f32", value: scoresOf(tokens, types, merges, path) }] as const,
      ["tokenizer.ggml.add_space_prefix", bool(addsSpace(definition))] as const,
    ],
    ...specialEntries(definition, settings, config, ids, rows),
    ...template === undefined ? [] : [["tokenizer.chat_template", text(template)] as const],
  ];
}

/** Lists the tokens of all rows. A row without a token gets one that no text has. */
function listTokens(
  { vocab, unk_token: unknown }: Definition["model"],
  added: readonly AddedToken[],
  rows: number,
  path: string,
  isByteLevel: boolean,
): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: rows }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(rows).fill(TYPES.unused);
  const set = (id: number, token: string, type: number) => {
    if (id >= rows) {
      throw new ModelError(
        `${path}: the token ${quoted(token)} has the id ${id}, but the table of tokens has ${rows} rows`,
      );
    }
    [tokens[id], types[id]] = [token, type];
  };
  for (const [token, id] of Object.entries(vocab)) {
    set(id, token, !isByteLevel && BYTE_TOKEN.test(token) ? TYPES.byte : TYPES.normal);
  }
  for (const { id, content, special } of added) {
    const isControl = special === true || /^<\|.*\|>$/.test(content);
    set(
      id,
      isControl ? content : content.replaceAll(SPACE, " "),
      isControl ? TYPES.control : TYPES.userDefined,
    );
  }
  if (!isByteLevel && typeof unknown === "string" && Object.hasOwn(vocab, unknown)) {
    types[vocab[unknown]] = TYPES.unknown;
  }
  const seen = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const other = seen.get(token);
    if (other !== undefined) {
      const shown = `the same token ${quoted(token)}, which llama.cpp does not accept`;
      throw new ModelError(`${path}: the ids ${other} and ${id} have ${shown}`);
    }
    seen.set(token, id);
  }
  return { tokens, types };
}

/** Returns a merge as two tokens with a space between them. Newer files have it as a list of both tokens. */
function mergeText(merge: unknown, path: string): string {
  const value = Array.isArray(merge) ? merge.join(" ") : merge;
  if (typeof value === "string" && /^[^ ]+ [^ ]+$/.test(value)) return value;
  throw new ModelError(`${path}: the merge ${quoted(merge)} is not two tokens without spaces`);
}

/** The score of tokens that no merge makes. Tokens of text that are merged first have the highest scores. */
const UNMERGED_SCORE = -1e6;

/**
 * Returns the score of each token. Of all neighbouring tokens, llama.cpp merges the two whose result has the highest score, so
 * the score is the negative position of the merge. As SentencePiece does, it merges any two tokens whose result is a token.
 * @throws {ModelError} if two such tokens have no merge, if merges with one result are not beside each other, or if a token is
 * too long
 */
function scoresOf(
  tokens: readonly string[],
  types: readonly number[],
  merges: readonly string[],
  path: string,
): number[] {
  const ranks = Map.groupBy(merges.keys(), (rank) => merges[rank].replace(" ", ""));
  const known = new Set(tokens.filter((_, id) => types[id] === TYPES.normal)), allowed = new Set(merges);
  return tokens.map((token, id) => {
    if (types[id] !== TYPES.normal) return 0;
    const parts = [...token], found = ranks.get(token) ?? [];
    if (parts.length > MAX_TOKEN_CHARACTERS) {
      const limit = `has ${parts.length} characters, and may have at most ${MAX_TOKEN_CHARACTERS}`;
      throw new ModelError(`${path}: the token ${quoted(token)} ${limit}`);
    }
    for (let i = 1; i < parts.length; i++) {
      const left = parts.slice(0, i).join(""), right = parts.slice(i).join("");
      if (!known.has(left) || !known.has(right) || allowed.has(`${left} ${right}`)) continue;
      throw new ModelError(
        `${path}: has no merge of ${quoted(left)} and ${quoted(right)}, but llama.cpp would merge them`,
      );
    }
    if (found.length === 0) return UNMERGED_SCORE;
    if (found.at(-1)! - found[0] === found.length - 1) return -found[0];
    const rule = "must follow one another, because llama.cpp has one score for them";
    throw new ModelError(`${path}: the merges to ${quoted(token)} ${rule}`);
  });
}

/** Match the normalizers and pre-tokenizers of SentencePiece that llama.cpp has. `Split` does nothing after `Replace`. */
const SENTENCEPIECE_STEPS: readonly ((step: Readonly<Record<string, unknown>>) => boolean)[] = [
  ({ type, prepend }) => type === "Prepend" && prepend === SPACE,
  ({ type, pattern, content }) =>
    type === "Replace" && isObject(pattern) && pattern.String === " " && content === SPACE,
  ({ type, pattern }) => type === "Split" && isObject(pattern) && pattern.String === " ",
  ({ type, replacement, split }) => type === "Metaspace" && replacement === SPACE && split === false,
];

/**
 * Checks what a tokenizer does to a text before it looks for tokens. llama.cpp does not compose characters as NFC does, which
 * changes few texts, so NFC is allowed.
 * @throws {ModelError} if llama.cpp has no such step, or another step
 */
function checkSteps(
  { normalizer, pre_tokenizer: rules }: Readonly<Record<string, unknown>>,
  isByteLevel: boolean,
  path: string,
): void {
  const steps = stepsOf(normalizer, "normalizers");
  const wrong = isByteLevel
    ? steps.find((step) => !isObject(step) || step.type !== "NFC")
    : [...steps, ...stepsOf(rules, "pretokenizers")].find((step) =>
      !isObject(step) || !SENTENCEPIECE_STEPS.some((isStep) => isStep(step))
    );
  if (wrong !== undefined) {
    throw new ModelError(`${path}: has the step ${quoted(wrong)}, which cannot be exported to GGUF`);
  }
  const isEscape = (step: unknown) =>
    isObject(step) && (step.type === "Replace" || step.type === "Metaspace");
  if (!isByteLevel && ![...steps, ...stepsOf(rules, "pretokenizers")].some(isEscape)) {
    throw new ModelError(`${path}: does not replace spaces by ${SPACE}, as llama.cpp does`);
  }
}

/** Returns the steps of a normalizer, a pre-tokenizer or a post-processor. `member` has them if there are several. */
function stepsOf(value: unknown, member: string): readonly unknown[] {
  if (value === null || value === undefined) return [];
  return isObject(value) && Array.isArray(value[member]) ? value[member] : [value];
}

/** Whether a space is put before a text: by the normalizer in older files, and by the pre-tokenizer in newer ones. */
function addsSpace({ normalizer, pre_tokenizer: rules }: Readonly<Record<string, unknown>>): boolean {
  const isPrepended = stepsOf(normalizer, "normalizers").some((step) =>
    isObject(step) && step.type === "Prepend" && step.prepend === SPACE
  );
  const isMetaspace = stepsOf(rules, "pretokenizers").some((step) =>
    isObject(step) && step.type === "Metaspace" &&
    (step.prepend_scheme === undefined ? step.add_prefix_space !== false : step.prepend_scheme !== "never")
  );
  return isPrepended || isMetaspace;
}

/** Returns the ids of the special tokens, and whether the first and last of them are added to a text. */
function specialEntries(
  definition: Readonly<Record<string, unknown>>,
  settings: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
  ids: ReadonlyMap<string, number>,
  rows: number,
): MetadataEntry[] {
  const entries: MetadataEntry[] = [];
  for (const [role, key] of Object.entries(ROLES)) {
    const value = settings[`${role}_token`], name = isObject(value) ? value.content : value;
    const stored = [config[`${role}_token_id`]].flat()[0];
    const id = typeof name === "string" ? ids.get(name) : undefined;
    const chosen = id ?? stored;
    if (!Number.isInteger(chosen) || Number(chosen) < 0 || Number(chosen) >= rows) continue;
    entries.push([`tokenizer.ggml.${key}_token_id`, u32(Number(chosen))]);
  }
  const idOf = (role: string) =>
    entries.find(([key]) => key === `tokenizer.ggml.${role}_token_id`)?.[1].value;
  const { first, last } = addedIds(definition.post_processor, ids);
  entries.push(["tokenizer.ggml.add_bos_token", bool(first !== undefined && first === idOf("bos"))]);
  entries.push(["tokenizer.ggml.add_eos_token", bool(last !== undefined && last === idOf("eos"))]);
  return entries;
}

/** Returns the ids of the tokens that the post-processor puts before and after a text. */
function addedIds(processor: unknown, ids: ReadonlyMap<string, number>): { first?: number; last?: number } {
  const template = stepsOf(processor, "processors").find((step) =>
    isObject(step) && step.type === "TemplateProcessing"
  );
  const pieces = isObject(template) && Array.isArray(template.single) ? template.single : [];
  const idOf = (piece: unknown) =>
    isObject(piece) && isObject(piece.SpecialToken) ? ids.get(String(piece.SpecialToken.id)) : undefined;
  return pieces.length < 2 ? {} : { first: idOf(pieces[0]), last: idOf(pieces.at(-1)) };
}

/** Returns the template of a chat. A model with several templates has them as a list, in which one has the name `default`. */
function defaultTemplate(value: unknown): string | undefined {
  const found = Array.isArray(value)
    ? value.find((item) => isObject(item) && item.name === "default")?.template
    : value;
  return typeof found === "string" ? found : undefined;
}

function quoted(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 60);
}

/** With the name of a Phi-3, llama.cpp removes the spaces after all added tokens but these. It loads no file without them and `</s>`. */
const UNSTRIPPED = ["<unk>", "<s>", "<|endoftext|>"];

/** Returns a name of the model with which llama.cpp reads the tokenizer as it is. @param definition the object in tokenizer.json */
export function modelName(name: string, definition: Readonly<Record<string, unknown>>): string {
  const added = Array.isArray(definition.added_tokens) ? definition.added_tokens.filter(isObject) : [];
  const isPhi3 = [...UNSTRIPPED, "</s>"].every((token) => added.some(({ content }) => content === token)) &&
    added.every(({ content, rstrip }) => rstrip === true !== UNSTRIPPED.includes(String(content)));
  if (isPhi3) return /phi-?3/i.test(name) ? name : `${name} (phi-3)`;
  return name.replace(/(phi)-?(3)|(modern)-(bert)/gi, "$1$3 $2$4");
}
