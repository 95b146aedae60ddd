/**
 * Tests the forward pass and the perplexity of the fixture model opt-sotu, which is a small OPT, against
 * float64 and against numbers from PyTorch.
 */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { type Model, openModel } from "../../../src/model/model.ts";
import { windowLogits } from "../../support/logits.ts";
import { computePerplexity } from "../../../src/model/evaluation/perplexity.ts";
import { forwardOpt, meanLoss, readOptReference } from "../../reference/opt_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend, onCpu } from "../../support/backends.ts";
import {
  assertPublishedLogits,
  openOptSotu,
  OPT_SOTU_URL,
  readReference,
  sotuTokens,
} from "../../support/opt_sotu.ts";

const reference = readOptReference(OPT_SOTU_URL);
const published = await readReference();
const tokens = await sotuTokens("evaluation");

let checkpoint: Checkpoint;
let model: Model;
before(async () => {
  checkpoint = await openOptSotu();
  model = openModel(checkpoint);
});
after(() => checkpoint.close());

eachBackend("the forward pass of opt-sotu", (backend) => {
  it("computes the same logits as a naive forward pass in float64", async () => {
    const window = tokens.subarray(1000, 1021);
    const actual = await windowLogits(model, backend(), window);
    assertClose(actual, forwardOpt(reference, window).logits, 2e-5);
  });

  it("computes the same logits as PyTorch", async () => {
    const logits = await windowLogits(model, backend(), tokens.subarray(0, 32));
    assertPublishedLogits(logits, published);
  });

  it("computes the same perplexity as the naive forward pass in float64, on short windows", async () => {
    const seqlen = 17, windows = 3;
    const losses = Array.from({ length: windows }, (_, i) => {
      const window = tokens.subarray(i * seqlen, (i + 1) * seqlen);
      return meanLoss(forwardOpt(reference, window).logits, window);
    });
    const expected = Math.exp(losses.reduce((sum, loss) => sum + loss) / windows);
    const measured = await computePerplexity(model, backend(), tokens, { seqlen, windows });
    assertClose([measured.perplexity], [expected], 1e-5);
    assert.equal(measured.windows, windows);
    assert.equal(measured.tokens, windows * (seqlen - 1));
  });
});

onCpu("perplexity", (backend) => {
  it("agrees with PyTorch for the dense opt-sotu on 128 windows of 256 tokens", async () => {
    const { perplexity: dense } = await computePerplexity(model, backend(), tokens, {
      seqlen: 256,
      windows: 128,
    });
    assertClose([dense], [published.perplexity.dense], 1e-4);
  });

  it("reports its progress and stops when it is aborted", async () => {
    const steps: string[] = [];
    const progress = (done: number, total: number) => void steps.push(`${done}/${total}`);
    await computePerplexity(model, backend(), tokens, { seqlen: 8, windows: 1, progress });
    assert.deepEqual(steps, ["1/5", "2/5", "3/5", "4/5", "5/5"]);
    const live = backend().counters.bytesLive;
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(computePerplexity(model, backend(), tokens, { seqlen: 8, signal }), /enough/);
    assert.equal(backend().counters.bytesLive, live);
  });

  it("uses every complete window by default", async () => {
    const { windows } = await computePerplexity(model, backend(), tokens.subarray(0, 39), { seqlen: 8 });
    assert.equal(windows, 4);
  });

  for (
    const [description, options, pattern] of [
      ["windows of one token", { seqlen: 1 }, /2 tokens or more/],
      [
        "more windows than the text fills",
        { seqlen: 8, windows: 6 },
        /has 40 tokens, which are 5 complete windows of 8, but 6 were requested/,
      ],
      ["a text shorter than a window", { seqlen: 64 }, /has 40 tokens, which are 0 complete windows of 64/],
    ] as const
  ) {
    it(`refuses ${description}`, async () => {
      const text = tokens.subarray(0, 40);
      await assert.rejects(computePerplexity(model, backend(), text, options), {
        name: "RangeError",
        message: pattern,
      });
    });
  }

  it("refuses windows with more tokens than the model has positions", async () => {
    await assert.rejects(computePerplexity(model, backend(), tokens, { seqlen: 513 }), /positions for 512/);
  });

  it("refuses token ids outside the vocabulary", async () => {
    await assert.rejects(
      computePerplexity(model, backend(), new Uint32Array(8).fill(2048), { seqlen: 8 }),
      /embed_tokens.weight: has no row 2048; the number of rows is 2048/,
    );
  });
});
