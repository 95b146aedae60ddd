/**
 * Checks the parts of a tokenizer.json that determine token ids, before the tokenizer library reads them. The library
 * accepts any value as an id, and guesses the kind of a model if it does not know the type.
 */

import { isObject } from "../../base/json.ts";
import { ModelError } from "../../base/files/file_error.ts";

/** The kinds of models that the tokenizer library implements. */
const MODEL_TYPES: readonly unknown[] = ["BPE", "WordPiece", "Unigram"];

/** The largest token id, because ids are stored in 32 bits. */
const MAX_ID = 2 ** 32 - 1;

/** The number of characters of a token that a message quotes. */
const MAX_QUOTED = 40;

/**
 * Checks the type of the model, and that every token id is a whole number.
 * @param definition the object in tokenizer.json
 * @param path the file, for messages
 * @throws {ModelError} naming the value that is not accepted
 */
export function checkDefinition(definition: Readonly<Record<string, unknown>>, path: string): void {
  const { model, added_tokens: added = [] } = definition;
  if (!isObject(model)) throw new ModelError(`${path}: model must be an object`);
  const { type, vocab } = model;
  // Files that were written before 2020 have no type. They are accepted if the vocabulary or the merges show the type.
  const isOld = type === undefined && (Array.isArray(vocab) || "merges" in model);
  if (!isOld && !MODEL_TYPES.includes(type)) {
    throw new ModelError(`${path}: model.type must be ${MODEL_TYPES.join(", ")}, got ${quoted(type)}`);
  }
  if (Array.isArray(vocab)) checkScores(vocab, path);
  else if (isObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) checkId(id, token, path);
  } else throw new ModelError(`${path}: model.vocab must be an object or an array`);
  if (!Array.isArray(added)) throw new ModelError(`${path}: added_tokens must be an array`);
  for (const token of added) {
    if (!isObject(token) || typeof token.content !== "string") {
      throw new ModelError(`${path}: each of added_tokens must have a content, got ${quoted(token)}`);
    }
    checkId(token.id, token.content, path);
  }
}

/** Checks the vocabulary of a Unigram model, a list of tokens with their scores. The position of a token is its id. */
function checkScores(vocab: readonly unknown[], path: string): void {
  const bad = vocab.find((entry) =>
    !Array.isArray(entry) || typeof entry[0] !== "string" || !Number.isFinite(entry[1])
  );
  if (bad === undefined) return;
  throw new ModelError(`${path}: each entry of model.vocab must be a token and a number, got ${quoted(bad)}`);
}

/** Whether a value is a whole number that fits into 32 bits. */
export function isTokenId(id: unknown): boolean {
  return Number.isInteger(id) && Number(id) >= 0 && Number(id) <= MAX_ID;
}

function checkId(id: unknown, token: string, path: string): void {
  if (isTokenId(id)) return;
  const rule = `must be a whole number from 0 to ${MAX_ID}, got ${quoted(id)}`;
  throw new ModelError(`${path}: the id of the token ${quoted(token)} ${rule}`);
}

function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= MAX_QUOTED ? text : `${text.slice(0, MAX_QUOTED)}…`;
}
