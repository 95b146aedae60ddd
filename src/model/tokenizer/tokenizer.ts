/**
 * Converts text to token ids with the tokenizer of a checkpoint. The tokenizer is read from tokenizer.json, or from
 * vocab.json and merges.txt in older checkpoints. Special tokens are added only by its post-processor.
 */

import { Tokenizer } from "@huggingface/tokenizers";
import { isObject } from "../../base/json.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { checkDefinition, isTokenId } from "./check_definition.ts";
import { readBpeFiles, TOKENIZER_BOUNDS } from "./bpe_files.ts";
import { MAX_JSON_BYTES, parseJsonAt, readJson, readText } from "../../base/files/whole_file.ts";
import { messageOf } from "../../base/errors.ts";

const TOKENIZER_FILE = "tokenizer.json";
const SETTINGS_FILE = "tokenizer_config.json";
/** The file with special tokens in older checkpoints. */
const SPECIAL_FILE = "special_tokens_map.json";
const CHAT_FILE = "chat_template.jinja";
/** The file of a SentencePiece tokenizer. The library transformers can convert it to `TOKENIZER_FILE`. */
const SENTENCEPIECE_FILE = "tokenizer.model";

/** The form of a text. A `txt` file is one document, and a `jsonl` file has one document `{"text": …}` per line. */
export type TextFormat = "txt" | "jsonl";

export interface TokenizerFiles {
  /** The object in tokenizer.json, or an object of the same form that is made from vocab.json and merges.txt. */
  readonly definition: Readonly<Record<string, unknown>>;
  /** The object in tokenizer_config.json, merged with the special tokens in special_tokens_map.json. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The file of the definition, for messages. */
  readonly path: string;
  /** The template of a chat, if it has a file of its own. */
  readonly chatTemplate?: string;
}

/** Loads the tokenizer of a checkpoint folder. @throws {ModelError} if there is none, or if its files are malformed */
export async function loadTokenizer(folder: string, fs: FileSystem): Promise<Tokenizer> {
  const { definition, settings } = await readTokenizerFiles(folder, fs);
  try {
    return new Tokenizer(definition, settings);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`${folder}: has a tokenizer that cannot be used: ${reason}`, { cause });
  }
}

/** Reads the files of a tokenizer. @throws {ModelError} if there is none, or if its files are malformed */
export async function readTokenizerFiles(folder: string, fs: FileSystem): Promise<TokenizerFiles> {
  const files = await fs.list(folder) ?? [];
  const settings: Record<string, unknown> = {};
  for (const name of [SPECIAL_FILE, SETTINGS_FILE]) {
    if (files.includes(name)) Object.assign(settings, await readObject(fs, `${folder}/${name}`));
  }
  const path = `${folder}/${TOKENIZER_FILE}`, hasDefinition = files.includes(TOKENIZER_FILE);
  const definition = hasDefinition
    ? await readObject(fs, path)
    : await readBpeFiles(fs, folder, files, settings);
  if (!definition) throw missingTokenizer(folder, files);
  if (hasDefinition) checkDefinition(definition, path);
  const chatTemplate = files.includes(CHAT_FILE)
    ? await readText(fs, `${folder}/${CHAT_FILE}`, MAX_JSON_BYTES)
    : undefined;
  return { definition, settings, path, chatTemplate };
}

/** If the folder has the file of a SentencePiece tokenizer, the message says how to convert it. */
function missingTokenizer(folder: string, files: readonly string[]): ModelError {
  const message = `${folder}: has no tokenizer; it needs ${TOKENIZER_FILE}, or vocab.json and merges.txt`;
  if (!files.includes(SENTENCEPIECE_FILE)) return new ModelError(message);
  return new ModelError(
    `${message}. Convert its ${SENTENCEPIECE_FILE} to ${TOKENIZER_FILE} with transformers: ` +
      "AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder)",
  );
}

/**
 * Returns the token ids of a text file. A `.jsonl` file is encoded document by document. "\r\n" and "\r" are read as
 * "\n", as in Python's text mode, because published perplexities were measured that way.
 * @throws {ModelError} if a line of a `.jsonl` file is not `{"text": …}`. The message names the file and the line
 */
export async function readTokens(tokenizer: Tokenizer, path: string, fs: FileSystem): Promise<Uint32Array> {
  const text = (await readText(fs, path)).replaceAll(/\r\n?/g, "\n");
  try {
    return encodeText(tokenizer, text, path.endsWith(".jsonl") ? "jsonl" : "txt");
  } catch (error) {
    if (error instanceof ModelError) throw new ModelError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

/**
 * Returns the token ids of all documents of a text, one after another.
 * @throws {ModelError} if a line of a `jsonl` text is not `{"text": …}`. The message names the line
 */
export function encodeText(tokenizer: Tokenizer, text: string, format: TextFormat): Uint32Array {
  if (format === "txt") return encode(tokenizer, text);
  const documents = text.split("\n").flatMap((line, i) =>
    line.trim() === "" ? [] : [readDocument(line, i + 1)]
  );
  return Uint32Array.from(documents.flatMap((document) => [...encode(tokenizer, document)]));
}

/**
 * Returns the token ids of a text.
 * @throws {ModelError} if a token of the text has no id, or if the tokenizer fails because its definition is malformed
 */
function encode(tokenizer: Tokenizer, text: string): Uint32Array {
  let encoded;
  try {
    encoded = tokenizer.encode(text);
  } catch (cause) { // the library checks most parts of a definition only when it uses them
    throw new ModelError(`the tokenizer cannot encode the text: ${messageOf(cause)}`, { cause });
  }
  const { ids, tokens } = encoded, at = ids.findIndex((id) => !isTokenId(id));
  if (at < 0) return Uint32Array.from(ids);
  // A malformed post-processor may add a token without a name.
  const token = JSON.stringify(tokens[at] ?? null).slice(0, 40);
  throw new ModelError(`the text needs the token ${token}, for which the tokenizer has no id`);
}

/** Returns the text of a line `{"text": …}`. @throws {ModelError} naming the line number */
export function readDocument(line: string, number: number): string {
  const value = parseJsonAt(line, `line ${number}`);
  if (!isObject(value) || typeof value.text !== "string") {
    throw new ModelError(`line ${number}: must be an object with a string "text"`);
  }
  return value.text;
}

/** Reads a JSON object. @throws {ModelError} if the file is malformed or holds another JSON value */
async function readObject(fs: FileSystem, path: string): Promise<Record<string, unknown>> {
  const value = await readJson(fs, path, TOKENIZER_BOUNDS);
  if (!isObject(value)) throw new ModelError(`${path}: is not a JSON object`);
  return value;
}
