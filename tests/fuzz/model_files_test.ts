/** Fuzzes the JSON files of a model: its tokenizer, its configuration and the index of its weights. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { readShardNames } from "../../src/model/checkpoint/weight_files.ts";
import { ModelError } from "../../src/base/files/file_error.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { encodeText, loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { FAMILY_FIXTURES, familyNames } from "../support/family_fixtures.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { damagedText } from "./arbitraries/damaged_bytes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { FOLDER, memoryFolder } from "../support/memory_folder.ts";
import { fuzz, type Outcome, unlessRefused } from "./property.ts";

const isModelError = (error: unknown) => error instanceof ModelError;

const TEXT = "ab b</s>a c";

/** Loads the tokenizer of a folder and encodes a text with it. */
async function loadAndEncode(files: Readonly<Record<string, unknown>>): Promise<Outcome> {
  const tokenizer = await unlessRefused(() => loadTokenizer(FOLDER, memoryFolder(files)), isModelError);
  if (!tokenizer) return "refused";
  const ids = await unlessRefused(() => encodeText(tokenizer, TEXT, "txt"), isModelError);
  if (!ids) return "refused";
  // A Uint32Array converts its values without an error, so the ids are compared with those of the library.
  assert.deepEqual([...ids], tokenizer.encode(TEXT).ids);
  return "accepted";
}

/** The configurations of the fixtures of all families. */
async function familyConfigs(): Promise<Record<string, unknown>[]> {
  const configs = await Promise.all(
    familyNames().map(async (family) => {
      const { header } = decode(await Deno.readFile(`${FAMILY_FIXTURES}${family}/expected.safetensors`));
      return Object.values(JSON.parse(header.metadata.configs)) as Record<string, unknown>[];
    }),
  );
  return configs.flat();
}

describe("fuzzing the files of a model", () => {
  const json = damagedJson([TINY_TOKENIZER]).map((value) => JSON.stringify(value));
  fuzz(
    "tokenizer.json",
    fc.oneof(json, damagedText(json)),
    (text) => loadAndEncode({ "tokenizer.json": text }),
  );

  const settings = damagedJson([{
    bos_token: { content: "</s>" },
    add_bos_token: true,
    add_prefix_space: false,
  }]);
  const bpe = fc.record({
    "vocab.json": damagedJson([TINY_TOKENIZER.model.vocab]),
    "merges.txt": damagedText(fc.constant("#version: 0.2\na b\n")),
    "tokenizer_config.json": settings,
    "special_tokens_map.json": damagedJson([{ eos_token: "</s>", pad_token: null }]),
    "added_tokens.json": damagedJson([{ "<new>": 6 }]),
  });
  fuzz("vocab.json and merges.txt", bpe, loadAndEncode);

  fuzz(
    "weight index",
    damagedJson([{ weight_map: { a: "x-1.safetensors", b: "x-2.safetensors" } }]),
    async (index) => {
      const files = ["config.json", "index.json", "x-1.safetensors", "x-2.safetensors"];
      const names = await unlessRefused(
        () => readShardNames(memoryFolder({ "index.json": index }), FOLDER, files, "index.json"),
        isModelError,
      );
      if (!names) return "refused";
      for (const name of names) assert.ok(files.includes(name));
      return "accepted";
    },
  );
});

const configs = damagedJson(await familyConfigs());

describe("fuzzing config.json", () => {
  fuzz("config.json", fc.tuple(configs, fc.boolean()), async ([config, hasAll]) => {
    const spec = await unlessRefused(() => readModelSpec(config, () => hasAll), isModelError);
    if (!spec) return "refused";
    const { hiddenSize, blockCount, vocabSize, maxTokens } = spec, block = spec.block(0);
    for (const size of [hiddenSize, blockCount, vocabSize]) assert.ok(Number.isSafeInteger(size) && size > 0);
    assert.ok(maxTokens > 0);
    for (const group of block.groups) {
      for (const { name, outFeatures, inFeatures } of group) {
        assert.ok(Number.isSafeInteger(outFeatures) && outFeatures > 0, `${name} has ${outFeatures} rows`);
        assert.ok(Number.isSafeInteger(inFeatures) && inFeatures > 0, `${name} has ${inFeatures} columns`);
      }
    }
    assert.equal(typeof block.prefix(0), "string");
    return "accepted";
  });
});
