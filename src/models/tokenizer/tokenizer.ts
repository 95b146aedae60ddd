/**
 * Converts text to token ids with the tokenizer of a checkpoint: its tokenizer.json, or the vocab.json and merges.txt of older
 * checkpoints. Special tokens are added by the tokenizer's post-processor only.
 */

import { Tokenizer } from "@huggingface/tokenizers";
import { isObject } from "../../safetensors/header_json.ts";
import { ModelError } from "../../files/model_error.ts";
import type { FileSystem } from "../../files/file_system.ts";
import { readBpeFiles } from "./bpe_files.ts";
import { readJson, readText } from "../../files/json_file.ts";
import { messageOf } from "../../text/message_of.ts";

const TOKENIZER_FILE = "tokenizer.json";
const SETTINGS_FILE = "tokenizer_config.json";
/** The file with the special tokens of older checkpoints. */
const SPECIAL_FILE = "special_tokens_map.json";
/** The file of a SentencePiece tokenizer, which transformers can convert to TOKENIZER_FILE. */
const SENTENCEPIECE_FILE = "tokenizer.model";

/** How a text is divided into documents. A `txt` file is one document. A `jsonl` file has one per line, `{"text": …}`. */
export type TextFormat = "txt" | "jsonl";

/** Loads the tokenizer of a checkpoint folder. @throws {ModelError} if there is none, or if its files are malformed */
export async function loadTokenizer(folder: string, fs: FileSystem): Promise<Tokenizer> {
  const files = await fs.list(folder) ?? [];
  const settings: Record<string, unknown> = {};
  for (const name of [SPECIAL_FILE, SETTINGS_FILE]) {
    if (files.includes(name)) Object.assign(settings, await readObject(fs, `${folder}/${name}`));
  }
  const definition = files.includes(TOKENIZER_FILE)
    ? await readObject(fs, `${folder}/${TOKENIZER_FILE}`)
    : await readBpeFiles(fs, folder, files, settings);
  if (!definition) throw noTokenizer(folder, files);
  try {
    return new Tokenizer(definition, settings);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`${folder}: its tokenizer cannot be used: ${reason}`, { cause });
  }
}

function noTokenizer(folder: string, files: readonly string[]): ModelError {
  const none = `${folder}: has no tokenizer: neither ${TOKENIZER_FILE} nor vocab.json with merges.txt`;
  if (!files.includes(SENTENCEPIECE_FILE)) return new ModelError(none);
  return new ModelError(
    `${none}. Convert its ${SENTENCEPIECE_FILE} to ${TOKENIZER_FILE} with transformers: ` +
      "AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder)",
  );
}

/**
 * Returns the token ids of a text file. A `.jsonl` file is encoded document by document. All kinds of line ends are read as "\n", as in
 * Python's text mode, which was used for published figures.
 * @throws {ModelError} as {@link encodeText}, with the name of the file
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

/** Returns the token ids of the documents of a text, one after another. @throws {ModelError} naming the line of `jsonl` that is not `{"text": …}` */
export function encodeText(tokenizer: Tokenizer, text: string, format: TextFormat): Uint32Array {
  if (format === "txt") return Uint32Array.from(tokenizer.encode(text).ids);
  const documents = text.split("\n").flatMap((line, i) => line.trim() === "" ? [] : [readLine(line, i + 1)]);
  return Uint32Array.from(documents.flatMap((document) => tokenizer.encode(document).ids));
}

function readLine(line: string, number: number): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new ModelError(`line ${number}: is not valid JSON: ${reason}`, { cause });
  }
  if (!isObject(value) || typeof value.text !== "string") {
    throw new ModelError(`line ${number}: must be an object with a string "text"`);
  }
  return value.text;
}

async function readObject(fs: FileSystem, path: string): Promise<Record<string, unknown>> {
  const value = await readJson(fs, path);
  if (!isObject(value)) throw new ModelError(`${path}: is not a JSON object`);
  return value;
}
