/** A model whose configuration, weight index or tokenizer is hostile is refused soon, with an error that names the file or the setting. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ModelError } from "../../src/base/files/file_error.ts";
import type { FileSystem } from "../../src/base/files/file_system.ts";
import { readEndTokens } from "../../src/model/generation/choose_token.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { encodeText } from "../../src/model/tokenizer/tokenizer.ts";
import { FOLDER, memoryFolder } from "../support/memory_folder.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { printCosts, withinBounds } from "./bounds.ts";
import { type BytePart, bytesOf } from "./bytes.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";

/** The changes of a valid model, and the error that they cause. */
interface ModelCase extends AttackCase {
  readonly message: string;
  /** Contents of files. Null removes a file. */
  readonly files?: Readonly<Record<string, BytePart | readonly BytePart[] | null>>;
  /** Members that replace those of config.json. */
  readonly config?: object;
  /** Members that replace those of tokenizer.json. */
  readonly tokenizer?: object;
}

const FIXTURE = new URL("../fixtures/torch/opt/", import.meta.url);
const CONFIG = JSON.parse(Deno.readTextFileSync(new URL("config.json", FIXTURE)));
const WEIGHTS = Deno.readFileSync(new URL("pytorch_model.bin", FIXTURE));

/** The longest message. A message may list all supported types and name a long path. */
const MAX_MESSAGE_CHARACTERS = 1000;

/** Returns the folder of a changed model. */
function changedModel({ files = {}, config, tokenizer }: Omit<ModelCase, "name" | "message">) {
  const changed = Object.entries(files).map((
    [name, parts],
  ) => [name, parts === null ? null : bytesOf(parts)]);
  const all: Record<string, unknown> = {
    "config.json": { ...CONFIG, ...config },
    "pytorch_model.bin": WEIGHTS,
    "tokenizer.json": { ...TINY_TOKENIZER, ...tokenizer },
    ...Object.fromEntries(changed),
  };
  return memoryFolder(Object.fromEntries(Object.entries(all).filter(([, content]) => content !== null)));
}

/** Opens the model, encodes a text, and reads the settings of generation. */
async function useModel(fs: FileSystem): Promise<void> {
  await using model = await openModelFolder(FOLDER, fs);
  encodeText(await model.loadTokenizer(), "ab b", "txt");
  const files = await fs.list(FOLDER) ?? [];
  await readEndTokens({ folder: FOLDER, files, config: {} }, fs);
}

describe("a model with a hostile file", () => {
  after(printCosts);

  it("is accepted without the hostile file", () => useModel(changedModel({})));

  for (const { name, message, ...changes } of readCorpus<ModelCase>("model_files")) {
    it(`is refused for ${name}`, async () => {
      const folder = changedModel(changes);
      await withinBounds(() =>
        assert.rejects(useModel(folder), (error: unknown) => {
          assert.ok(error instanceof ModelError, String(error));
          assert.match(error.message, new RegExp(message));
          assert.ok(error.message.length <= MAX_MESSAGE_CHARACTERS, `${error.message.length} characters`);
          return true;
        }), name);
    });
  }
});
