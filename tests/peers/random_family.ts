/**
 * Compares Pare's forward pass with that of transformers, on small models that transformers makes with random
 * parameters. Every parameter is random, norms and biases included, so a parameter that Pare ignores or uses in
 * the wrong place changes the logits.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { computePerplexity } from "../../src/evaluation/perplexity.ts";
import { openModelFolder } from "../../src/models/model.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { windowLogits } from "../support/logits.ts";
import { memoize } from "../support/memoize.ts";
import { describePeers } from "./describe_peers.ts";

/** The settings of config.json, under the names of transformers. */
export type Settings = Readonly<Record<string, unknown>>;

/** A model to compare. */
export interface Variant {
  /** The settings in which the model differs from the base of its family. */
  readonly settings: Settings;
  /** The dtype in which the parameters are saved. Defaults to float32. */
  readonly dtype?: "float16" | "bfloat16";
  /**
   * How the checkpoint is saved: in several shards, without the head and the prefix of the names, by
   * `torch.save`, or with a head although config.json ties the head. By default it is one safetensors file.
   */
  readonly savedAs?: "shards" | "headless" | "pickle" | "second head";
  /** Changes config.json after transformers has written it. Both programs read the changed file. */
  rewrite?(config: Record<string, unknown>): Settings;
  /** The title of another variant that means the same, so its logits are equal. */
  readonly same?: string;
}

/** The settings of the smallest model of every family derived from LLaMA. Families add their `model_type`. */
export const LLAMA_BASE: Settings = {
  vocab_size: 29,
  hidden_size: 24,
  intermediate_size: 37,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
  pad_token_id: 0,
};

/** The settings whose defaults do not fit the small models. */
const SIZES = [
  "pad_token_id",
  ...["architectures", "dtype", "model_type", "vocab_size", "max_position_embeddings", "hidden_size"],
  ...["num_hidden_layers", "n_layer", "num_attention_heads", "n_head", "intermediate_size", "ffn_dim"],
];

/** Removes all settings except sizes from a config.json, so the defaults of both programs must agree. */
export function withDefaults(config: Record<string, unknown>): Settings {
  return Object.fromEntries(Object.entries(config).filter(([key]) => SIZES.includes(key)));
}

const TOKENS = 20, VOCABULARY = 29;
const WINDOWS = [5, 12].map((start) =>
  Array.from({ length: TOKENS }, (_, t) => (t * t + 3 * t + start) % VOCABULARY)
);

/** The answer of `transformers_model.py`, which describes the fields in its header. */
interface ModelAnswer {
  readonly logits: readonly (readonly (readonly number[])[])[];
  readonly perplexity: number;
  readonly insensitive: readonly string[];
}

/**
 * Declares the tests of a family: one test per variant and backend, and one test that all variants differ.
 * @param insensitive the names of the parameters that cannot matter, without the prefix of their block
 */
export async function compareFamily(
  family: string,
  base: Settings,
  variants: Readonly<Record<string, Variant>>,
  insensitive: readonly string[] = [],
): Promise<void> {
  await describePeers(`the forward pass of ${family}`, (peers) => {
    const makeModel = memoize(async (title: string) => {
      const { settings, dtype, savedAs, rewrite } = variants[title];
      const path = `${peers().folder}/${title}`, request = { folder: path, windows: WINDOWS };
      const ask = (more: object) => peers().ask<ModelAnswer>("transformers_model", { ...request, ...more });
      const made = await ask({ config: { ...base, ...settings }, dtype, saved_as: savedAs });
      const ignored = made.insensitive.filter((name) => !insensitive.some((end) => name.endsWith(end)));
      assert.deepEqual(ignored, [], "these parameters have no influence on the logits of transformers");
      if (!rewrite) return { path, ...made };
      const written = JSON.parse(await Deno.readTextFile(`${path}/config.json`));
      await Deno.writeTextFile(`${path}/config.json`, JSON.stringify(rewrite(written)));
      return { path, ...await ask({}) };
    });

    eachBackend("compared with transformers", (backend) => {
      for (const title of Object.keys(variants)) {
        it(`computes the same logits and the same perplexity for a model ${title}`, async () => {
          const expected = await makeModel(title);
          await using opened = await openModelFolder(expected.path, denoFileSystem);
          for (const [i, window] of WINDOWS.entries()) {
            const actual = await windowLogits(opened.model, backend(), Uint32Array.from(window));
            assertClose(actual, expected.logits[i].flat(), 1e-5);
          }
          const tokens = Uint32Array.from(WINDOWS.flat());
          const measured = await computePerplexity(opened.model, backend(), tokens, { seqlen: TOKENS });
          assertClose([measured.perplexity], [expected.perplexity], 1e-5);
        });
      }
    });

    it("has other logits for every other setting of the compared models", async () => {
      const titleOfLogits = new Map<string, string>(), equal: [string, string][] = [];
      for (const title of Object.keys(variants)) {
        const key = (await makeModel(title)).logits.flat(2).map((logit) => logit.toFixed(4)).join();
        const other = titleOfLogits.get(key);
        if (other) equal.push([title, other]);
        titleOfLogits.set(key, other ?? title);
      }
      const same = Object.entries(variants).flatMap(([title, { same }]) => same ? [[title, same]] : []);
      assert.deepEqual(equal, same);
    });
  });
}
