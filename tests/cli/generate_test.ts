/** Tests `pare generate`: its output, the options of random tokens, and its errors. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { GeneratedText } from "../../src/cli/generate.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { mostLikelyToken } from "../../src/model/generation/choose_token.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { encodeText } from "../../src/model/tokenizer/tokenizer.ts";
import { windowLogits } from "../support/logits.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { pareJson, runPare, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const PROMPT = "My fellow citizens", ON_CPU = ["--backend", "cpu"];

describe("pare generate", () => {
  const folder = temporaryFolder();

  it("prints the prompt and then the most likely tokens, which the whole forward pass gives too", async () => {
    const args = ["generate", OPT_SOTU, PROMPT, "--tokens", "12", ...ON_CPU];
    const { stdout, stderr } = await succeeded(runPare(...args));
    assert.match(stderr, /^12 tokens: the first after .*, the others in .*\n$/);
    const { prompt_tokens, tokens, text, ended_by, ...rest } = await pareJson<GeneratedText>(...args);
    assert.equal(stdout, `${PROMPT}${text}\n`);
    assert.equal(ended_by, "tokens");
    assert.deepEqual(Object.keys(rest), ["model", "prompt", "seconds"]);

    await using opened = await openModelFolder(OPT_SOTU, denoFileSystem);
    await using cleanup = new AsyncDisposableStack();
    const backend = cleanup.adopt(await createCpuBackend(), (backend) => backend.dispose());
    const ids = [...encodeText(await opened.loadTokenizer(), PROMPT, "txt")];
    assert.deepEqual(prompt_tokens, ids);
    const logits = await windowLogits(opened.model, backend, Uint32Array.of(...ids, ...tokens.slice(0, -1)));
    const chosen = tokens.map((_, i) => {
      const row = ids.length - 1 + i;
      return mostLikelyToken(logits.subarray(row * 2048, (row + 1) * 2048));
    });
    assert.deepEqual(tokens, chosen);
  });

  it("draws the same random tokens for the same seed, and other tokens for another seed", async () => {
    const sample = async (seed: string) => {
      const options = words`--temperature 1.5 --top-k 50 --top-p 0.95 --seed ${seed} --tokens 20`;
      return (await pareJson<GeneratedText>("generate", OPT_SOTU, PROMPT, ...options, ...ON_CPU)).tokens;
    };
    const first = await sample("1");
    assert.deepEqual(await sample("1"), first);
    assert.notDeepEqual(await sample("2"), first);
  });

  it("stops at the end token of generation_config.json, or else of config.json", async () => {
    const args = ["--tokens", "12", ...ON_CPU];
    const free = await pareJson<GeneratedText>("generate", OPT_SOTU, PROMPT, ...args), end = free.tokens[3];
    await cp(OPT_SOTU, folder, { recursive: true });
    const expected = free.tokens.slice(0, free.tokens.indexOf(end) + 1);
    await Deno.writeTextFile(`${folder}/generation_config.json`, JSON.stringify({ eos_token_id: [7, end] }));
    const stopped = await pareJson<GeneratedText>("generate", folder, PROMPT, ...args);
    assert.deepEqual([stopped.tokens, stopped.ended_by], [expected, "end_token"]);

    await Deno.writeTextFile(`${folder}/generation_config.json`, "{}");
    const config = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify({ ...config, eos_token_id: end }));
    assert.deepEqual((await pareJson<GeneratedText>("generate", folder, PROMPT, ...args)).tokens, expected);

    await Deno.writeTextFile(`${folder}/generation_config.json`, '{"eos_token_id": "</s>"}');
    const { code, stderr } = await runPare("generate", folder, PROMPT, ...args);
    assert.equal(code, 3);
    assert.match(stderr, /generation_config\.json: eos_token_id must be the id of a token, or a list of ids/);
  });

  for (
    const [title, args, message] of [
      ["an empty prompt", [""], /the prompt is empty, but must have at least one token/],
      [
        "a prompt that leaves no position",
        ["word ".repeat(600)],
        /the prompt has \d+ tokens, but the model has 512 positions/,
      ],
      ["a negative temperature", [PROMPT, "--temperature", "-1"], /must be a number of 0 or more/],
      [
        "a probability above 1",
        [PROMPT, "--temperature", "1", "--top-p", "1.5"],
        /must be a number above 0 and at most 1/,
      ],
      [
        "a seed without a temperature",
        [PROMPT, "--seed", "3"],
        /option --seed: has no effect without a --temperature above 0/,
      ],
    ] as const
  ) {
    it(`refuses ${title}`, async () => {
      const { code, stdout, stderr } = await runPare("generate", OPT_SOTU, ...args, ...ON_CPU);
      assert.deepEqual([code, stdout], [2, ""], stderr);
      assert.match(stderr, message);
    });
  }
});
