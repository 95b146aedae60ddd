/** Compares the tokens that `pare generate` chooses with those of transformers, for the trained test models. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { GeneratedText } from "../../src/cli/generate.ts";
import { pareJson } from "../cli/run_pare.ts";
import { webgpuSkipReason } from "../support/backends.ts";
import { SHARED, sharedSkipReason } from "../support/fixture_models.ts";
import { memoize } from "../support/memoize.ts";
import { describePeers } from "./describe_peers.ts";

const FIXTURES = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const TOKENS = 64,
  SPEECH = "My fellow citizens, the state of the Union",
  STORY = "Once upon a time, there was";

const MODELS: readonly (readonly [name: string, folder: string, prompt: string, skip?: string])[] = [
  ...["opt-sotu", "llama-sotu", "bloom-sotu"].map((name) => [name, FIXTURES + name, SPEECH] as const),
  ["stories260K", `${SHARED}/models/stories260K`, STORY, await sharedSkipReason("models/stories260K")],
];

await describePeers("pare generate", (peers) => {
  const expected = memoize((name: string) => {
    const [, folder, prompt] = MODELS.find(([known]) => known === name)!;
    const request = { folder, prompt, tokens: TOKENS };
    return peers().ask<Pick<GeneratedText, "prompt_tokens" | "tokens">>("transformers_generate", request);
  });

  for (const [name, folder, prompt, missing] of MODELS) {
    for (const backend of ["cpu", "webgpu"]) {
      const skip = missing ?? (backend === "webgpu" ? webgpuSkipReason : undefined);
      const title = `chooses the tokens of transformers for ${name} on ${backend}`;
      it(skip ? `${title}: skipped, ${skip}` : title, { skip }, async () => {
        const options = ["--tokens", String(TOKENS), "--backend", backend];
        const { prompt_tokens, tokens } = await pareJson<GeneratedText>(
          "generate",
          folder,
          prompt,
          ...options,
        );
        assert.deepEqual({ prompt_tokens, tokens }, await expected(name));
        assert.equal(tokens.length, TOKENS);
      });
    }
  }
});
