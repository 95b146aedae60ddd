/**
 * Tests trained models of the families LLaMA and BLOOM. Their logits and perplexities must agree with independently measured
 * ones. llama-sotu and bloom-sotu are small models among the test fixtures. stories260K is a small LLaMA outside the repository.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { openModel } from "../../src/model/model.ts";
import { loadTokenizer, readTokens } from "../../src/model/tokenizer/tokenizer.ts";
import { windowLogits } from "../support/logits.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend, onCpu } from "../support/backends.ts";
import { openFixture, SHARED, sharedSkipReason } from "../support/fixture_models.ts";
import { assertPublishedLogits, type OptSotuReference, sotuTokens } from "../support/opt_sotu.ts";

/** The numbers that an independent PyTorch program computed from llama-sotu's weights. */
const published: OptSotuReference = JSON.parse(
  await Deno.readTextFile(new URL("../fixtures/models/llama-sotu/reference.json", import.meta.url)),
);
const tokens = await sotuTokens("evaluation");
const storiesSkipReason = await sharedSkipReason("models/stories260K");

eachBackend("the forward pass of llama-sotu", (backend) => {
  it("computes the same logits as PyTorch", async () => {
    const checkpoint = await openFixture("llama-sotu");
    const logits = await windowLogits(openModel(checkpoint), backend(), tokens.subarray(0, 32));
    assertPublishedLogits(logits, published);
    await checkpoint.close();
  });
});

onCpu("dense perplexity", (backend) => {
  it("of llama-sotu agrees with PyTorch on 128 windows of 256 tokens", async () => {
    const checkpoint = await openFixture("llama-sotu");
    const options = { seqlen: 256, windows: 128 };
    const { perplexity: dense } = await computePerplexity(openModel(checkpoint), backend(), tokens, options);
    assertClose([dense], [published.perplexity.dense], 1e-5);
    await checkpoint.close();
  });

  it("of bloom-sotu is within 2 % of the perplexity of llama-sotu, which was trained on the same text in the same way", async () => {
    const checkpoint = await openFixture("bloom-sotu");
    const options = { seqlen: 256, windows: 128 };
    const { perplexity: dense } = await computePerplexity(openModel(checkpoint), backend(), tokens, options);
    const llamaPerplexity = published.perplexity.dense;
    assert.ok(Math.abs(dense / llamaPerplexity - 1) < 0.02, `${dense} is not near ${llamaPerplexity}`);
    await checkpoint.close();
  });

  it("of bloom-sotu does not grow on windows longer than the 256 tokens of its training windows", async () => {
    const checkpoint = await openFixture("bloom-sotu");
    const measure = (seqlen: number) =>
      computePerplexity(openModel(checkpoint), backend(), tokens, { seqlen, windows: 8192 / seqlen });
    const [trained, longer] = [await measure(256), await measure(1024)];
    assert.ok(longer.perplexity < 1.02 * trained.perplexity, JSON.stringify({ trained, longer }));
    await checkpoint.close();
  });

  it("of stories260K agrees with the model's README", { skip: storiesSkipReason }, async () => {
    const folder = `${SHARED}/models/stories260K`;
    const checkpoint = await openCheckpoint(folder, denoFileSystem);
    const stories = await readTokens(
      await loadTokenizer(folder, denoFileSystem),
      `${SHARED}/text/tinystories-eval.jsonl`,
      denoFileSystem,
    );
    const { perplexity: dense, windows } = await computePerplexity(
      openModel(checkpoint),
      backend(),
      stories,
      {
        seqlen: 512,
      },
    );
    assert.equal(windows, 106);
    assertClose([dense], [3.452], 2e-4);
    await checkpoint.close();
  });
});
