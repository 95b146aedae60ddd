/**
 * Tests that llama.cpp gives texts the tokens, and chats the texts, that transformers gives them, by the tokenizer in a
 * file of `pare export`. `deno task venv` and `deno task venv llama-cpp` install both.
 */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomLlama } from "../../scripts/fixtures/make_random_llama.ts";
import { type Chat, LlamaCpp, llamaCppSkipReason } from "../../scripts/peers/npm/llama_cpp.ts";
import { REAL_MODELS, realModelSkipReason } from "../../scripts/peers/real_model.ts";
import { DIVIDING_RULES } from "../../src/model/gguf/pre_tokenizers.ts";
import { pareJson } from "../cli/run_pare.ts";
import { AWKWARD_TEXTS } from "../support/awkward_texts.ts";
import {
  byteLevelTokenizer,
  sentencePieceTokenizer,
  TEXTS_WITH_ADDED_TOKENS,
} from "../support/learned_tokenizer.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { describePeers } from "./describe_peers.ts";

type Json = Readonly<Record<string, unknown>>;

/** A kind of tokenizer. llama.cpp gives the texts that `except` matches other tokens than transformers. */
interface Kind {
  readonly definition: Json;
  readonly except?: RegExp;
}

const TEXTS = [...AWKWARD_TEXTS, ...TEXTS_WITH_ADDED_TOKENS];

/** Returns rules of a byte-level tokenizer: those of GPT-2 or none, after the step `first`. */
function byteLevel(use_regex: boolean, first?: Json): Json {
  const last = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex };
  return { pre_tokenizer: first ? { type: "Sequence", pretokenizers: [first, last] } : last };
}

/** The pre-tokenizers of published tokenizers, by their names in llama.cpp. */
const PUBLISHED: Readonly<Record<string, Json>> = JSON.parse(
  await Deno.readTextFile(new URL("../fixtures/pre_tokenizers.json", import.meta.url)),
);

const replaceSpaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
const metaspace = (prepend_scheme: string) => ({
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme, split: false },
});

/** What texts have that llama.cpp divides otherwise. */
const EXCEPTIONS: Readonly<Record<string, RegExp>> = {
  // The rules that divide a text by the case of letters have no marks.
  ...{ "tekken": /\p{M}/u, "gpt-4o": /\p{M}/u },
  // Numbers stay together, and merges of the bytes of letters also merge bytes of digits that are not ASCII.
  "deepseek-llm": /[^\P{N}\d]{2}/u,
};

/** The kinds of tokenizers by title. */
const KINDS: Readonly<Record<string, Kind>> = {
  "gpt-2 with NFC, which llama.cpp lacks": {
    definition: byteLevelTokenizer(AWKWARD_TEXTS, { ...byteLevel(true), normalizer: { type: "NFC" } }),
    except: /[aeu][\u0300-\u036f]/,
  },
  ...Object.fromEntries(
    DIVIDING_RULES.map(({ name, steps, ignoresMerges, undivided }): [string, Kind] => [name, {
      definition: byteLevelTokenizer(
        AWKWARD_TEXTS,
        {
          pre_tokenizer: PUBLISHED[name] ??
            { type: "Sequence", pretokenizers: steps.map((step) => ({ trim_offsets: true, ...step })) },
        },
        { ignore_merges: ignoresMerges ?? false },
        { never: undivided },
      ),
      except: EXCEPTIONS[name],
    }]),
  ),
  "gpt-4o with ignore_merges, where merges make every token": {
    definition: byteLevelTokenizer(AWKWARD_TEXTS, { pre_tokenizer: PUBLISHED["gpt-4o"] }, {
      ignore_merges: true,
    }, { unmerged: [] }),
    except: EXCEPTIONS["gpt-4o"],
  },
  "smollm with byte_fallback, which does not make it a tokenizer of SentencePiece": {
    definition: byteLevelTokenizer(
      AWKWARD_TEXTS,
      byteLevel(true, { type: "Digits", individual_digits: true }),
      { byte_fallback: true },
    ),
  },
  "SentencePiece": {
    definition: sentencePieceTokenizer(AWKWARD_TEXTS, {
      normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replaceSpaces] },
    }),
  },
  "SentencePiece without a space in front": {
    definition: sentencePieceTokenizer(AWKWARD_TEXTS, { normalizer: replaceSpaces }),
  },
  "SentencePiece with Metaspace and no space in front": {
    definition: sentencePieceTokenizer(AWKWARD_TEXTS, metaspace("never")),
  },
  "SentencePiece with Metaspace": {
    definition: sentencePieceTokenizer(AWKWARD_TEXTS, metaspace("first")),
    // llama.cpp also puts a space before a text that begins with one, and after an added token.
    except: /^[ ▁]|<(\|user\||tool|\/?s|unk)>/,
  },
};

const CHATS: readonly Chat[] = [
  [{ role: "user", content: "  What is 1 < 2?\n" }],
  [{ role: "system", content: "Be brief." }, { role: "user", content: "naïve 👍🏽 {{ x }} {% if %}" }],
  [{ role: "user", content: "a" }, { role: "assistant", content: "b\n\n c" }, { role: "user", content: "" }],
];

/** Templates that use what those of published models use. */
const TEMPLATES = {
  "turns with names": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}" +
    "{{ '<|user|>system\nHelp.</s>\n' }}{% endif %}{{'<|user|>' + message['role'] + '\n' + message['content'] + '</s>' + '\n'}}" +
    "{% endfor %}{% if add_generation_prompt %}{{ '<|user|>assistant\n' }}{% endif %}",
  "trimmed turns after a first token": "{{- bos_token }}\n{%- if messages[0].role == 'system' %}\n" +
    "    {%- set system = messages[0].content | trim %}\n    {%- set messages = messages[1:] %}\n{%- endif %}\n" +
    "{%- for message in messages %}\n    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}\n" +
    "        {{- raise_exception('roles must alternate') }}\n    {%- endif %}\n" +
    "    {{- '[' ~ message.role | upper ~ '] ' ~ (system ~ ' ' if system and loop.first else '') ~ message.content | trim }}\n" +
    "    {%- if message.role == 'assistant' %}{{ eos_token }}{% endif %}\n{%- endfor %}\n",
};

const skip = await llamaCppSkipReason(), realSkip = await realModelSkipReason();

await describePeers("llama.cpp, with the tokenizer in a file of pare export", (peers) => {
  if (skip) return void it(`is skipped: ${skip}`, { skip }, () => {});
  let llama: LlamaCpp;
  before(() => {
    llama = new LlamaCpp();
  });
  after(() => llama.stop());

  /** Compares what both libraries make of texts and chats. Returns the texts whose tokens differ. */
  async function compare(
    folder: string,
    texts: readonly string[],
    chats: readonly Chat[] = [],
  ): Promise<string[]> {
    const file = `${peers().folder}/model.gguf`;
    await pareJson("export", folder, "--format", "gguf:f16", "--out", file);
    const request = { folder, texts, chats };
    const wanted = await peers().ask<{ tokens: number[][]; chats: string[] }>(
      "transformers_tokenizer",
      request,
    );
    const found = await llama.ask({ file, texts, chats });
    assert.deepEqual(found.chats, wanted.chats);
    assert.equal(found.tokens.length, texts.length);
    return texts.filter((_, i) => String(found.tokens[i]) !== String(wanted.tokens[i]));
  }

  /** Makes a small model with a tokenizer. */
  async function makeModel(definition: Json, settings: Json = {}): Promise<string> {
    const folder = `${peers().folder}/${crypto.randomUUID()}`,
      sizes = { hidden: 32, heads: 2, intermediate: 32 };
    await makeRandomLlama(folder, { ...sizes, layers: 1, vocabulary: 2048, positions: 64 });
    const named = {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      ...settings,
    };
    await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(definition));
    await Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify(named));
    return folder;
  }

  for (const [title, { definition, except }] of Object.entries(KINDS)) {
    it(`gives texts the tokens of transformers: ${title}`, async () => {
      const different = await compare(await makeModel(definition), TEXTS);
      assert.deepEqual(different.filter((text) => !except?.test(text)), []);
      assert.equal(different.length > 0, except !== undefined);
    });
  }

  it("gives texts the tokens of transformers: the tokenizer of llama-sotu", async () => {
    assert.deepEqual(await compare(OPT_SOTU.replace("opt-sotu", "llama-sotu"), TEXTS), []);
  });

  it(
    "gives texts the tokens, and chats the texts, of transformers: SmolLM2",
    { skip: realSkip ?? false },
    async () => {
      const texts = [...TEXTS, "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", "a <|im_end|> b"];
      assert.deepEqual(await compare(REAL_MODELS.smollm2, texts, CHATS), []);
    },
  );

  for (const [title, template] of Object.entries(TEMPLATES)) {
    it(`gives chats the texts of transformers: ${title}`, async () => {
      const inSettings = await makeModel(KINDS.smollm.definition, { chat_template: template });
      assert.deepEqual(await compare(inSettings, [], CHATS), []);
      const inFile = await makeModel(KINDS.smollm.definition, {
        chat_template: "is replaced by that of the file",
      });
      await Deno.writeTextFile(`${inFile}/chat_template.jinja`, template);
      assert.deepEqual(await compare(inFile, [], CHATS), []);
    });
  }
});
