/**
 * Reads a byte-level BPE tokenizer from vocab.json and merges.txt, and converts it to the form of
 * tokenizer.json. The two files have the format of GPT-2, which OPT checkpoints use. As in transformers'
 * `GPT2Tokenizer`, `bos_token` is put before each document if `add_bos_token` is set.
 */

import { z } from "zod";
import { stopAtFault } from "../../base/stop_at_fault.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { readJson, readText } from "../../base/files/whole_file.ts";

/**
 * The limits of a file of a tokenizer. A vocabulary of 262,144 tokens with its merges takes 34 MB, and has 1.9 million
 * values and 0.3 million keys.
 */
export const TOKENIZER_BOUNDS = { maxBytes: 128 << 20, maxValues: 2 ** 22, maxKeys: 2 ** 19 };

const VOCABULARY_FILE = "vocab.json";
const MERGES_FILE = "merges.txt";

/** An optional file with tokens that were added to the vocabulary after training. */
const ADDED_FILE = "added_tokens.json";

/** The schema of a special token: its text, or an object with its text in `content`. */
const tokenText = z.union([
  z.string(),
  z.object({ content: z.string() }).transform((token) => token.content),
]).nullish();

const settingsSchema = z.object({
  bos_token: tokenText,
  eos_token: tokenText,
  pad_token: tokenText,
  unk_token: tokenText,
  add_bos_token: z.boolean().default(false),
  add_prefix_space: z.boolean().default(false),
});

const vocabularySchema = stopAtFault(z.record(z.string(), z.int().nonnegative()));

/**
 * Returns the definition of the tokenizer in `folder`, or undefined if the folder lacks vocab.json or merges.txt.
 * @param files the names of the files in `folder`
 * @param settings the object in tokenizer_config.json, merged with the special tokens in special_tokens_map.json
 * @throws {ModelError} if a file is malformed, or if a special token is not in the vocabulary
 */
export async function readBpeFiles(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
  settings: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown> | undefined> {
  if (!files.includes(VOCABULARY_FILE) || !files.includes(MERGES_FILE)) return undefined;
  const vocabulary = await readVocabulary(fs, `${folder}/${VOCABULARY_FILE}`);
  const added = files.includes(ADDED_FILE) ? await readVocabulary(fs, `${folder}/${ADDED_FILE}`) : {};
  const parsed = settingsSchema.safeParse(settings);
  if (!parsed.success) {
    throw new ModelError(`${folder}/tokenizer_config.json: ${z.prettifyError(parsed.error)}`);
  }
  const merges = (await readText(fs, `${folder}/${MERGES_FILE}`, TOKENIZER_BOUNDS.maxBytes)).split(/\r?\n/)
    .filter((line, i) => line !== "" && !(i === 0 && line.startsWith("#version")));
  return buildDefinition(vocabulary, added, merges, parsed.data, folder);
}

async function readVocabulary(fs: FileSystem, path: string): Promise<Readonly<Record<string, number>>> {
  const vocabulary = vocabularySchema.safeParse(await readJson(fs, path, TOKENIZER_BOUNDS));
  if (!vocabulary.success) throw new ModelError(`${path}: must be an object whose values are token ids`);
  return vocabulary.data;
}

/** Returns an object in the form of tokenizer.json. @throws {ModelError} if a special token is not in the vocabulary */
function buildDefinition(
  vocabulary: Readonly<Record<string, number>>,
  added: Readonly<Record<string, number>>,
  merges: readonly string[],
  settings: z.infer<typeof settingsSchema>,
  folder: string,
): Record<string, unknown> {
  const { bos_token, eos_token, pad_token, unk_token, add_bos_token, add_prefix_space } = settings;
  const special = new Set(
    [bos_token, eos_token, pad_token, unk_token, ...Object.keys(added)]
      .filter((token) => typeof token === "string"),
  );
  const idOf = (token: string): number => {
    // A token may have the name of an inherited property, such as "constructor".
    if (Object.hasOwn(vocabulary, token)) return vocabulary[token];
    if (Object.hasOwn(added, token)) return added[token];
    throw new ModelError(`${folder}/${VOCABULARY_FILE}: lacks the special token ${token}`);
  };
  const byteLevel = { type: "ByteLevel", add_prefix_space, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    added_tokens: [...special].map((content) => (
      {
        id: idOf(content),
        content,
        special: true,
        normalized: false,
        lstrip: false,
        rstrip: false,
        single_word: false,
      }
    )),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: add_bos_token && typeof bos_token === "string"
      ? startWith(bos_token, idOf(bos_token))
      : null,
    decoder: byteLevel,
    model: { type: "BPE", vocab: vocabulary, merges },
  };
}

/** Returns a post-processor that puts `token` before each document. */
function startWith(token: string, id: number): object {
  const start = { SpecialToken: { id: token, type_id: 0 } };
  const sequence = (name: string, type_id: number) => ({ Sequence: { id: name, type_id } });
  return {
    type: "TemplateProcessing",
    single: [start, sequence("A", 0)],
    pair: [start, sequence("A", 0), start, sequence("B", 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
