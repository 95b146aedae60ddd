/** Tests how the predictions of two models are compared: against float64, for other batches, and for models that cannot be compared. */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { readTensor, withReplacements } from "../../../src/model/checkpoint/tensor_source.ts";
import { Predictions } from "../../../src/model/evaluation/perplexity.ts";
import type { ForwardMemory } from "../../../src/model/plan_forward.ts";
import { type Model, openModel } from "../../../src/model/model.ts";
import type { Backend } from "../../../src/device/backend.ts";
import { forwardOpt, meanDivergence, readOptReference } from "../../reference/opt_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend, onCpu } from "../../support/backends.ts";
import { openOptSotu, OPT_SOTU_URL, sotuTokens } from "../../support/opt_sotu.ts";

const CHANGED = "model.decoder.layers.1.fc1.weight";
const tokens = await sotuTokens("evaluation");

let checkpoint: Checkpoint;
let dense: Model;
/** opt-sotu without the weights of {@link CHANGED}. */
let changed: Model;
before(async () => {
  checkpoint = await openOptSotu();
  dense = openModel(checkpoint);
  const weight = await readTensor(dense.weights, CHANGED);
  const zeros = { ...weight, data: new Uint8Array(weight.data.length) };
  changed = { ...dense, weights: withReplacements(dense.weights, new Map([[CHANGED, zeros]])) };
});
after(() => checkpoint.close());

/** Measures `changed`, or `other`, beside the dense model. */
async function compare(
  backend: Backend,
  options: { readonly seqlen: number; readonly windows: number },
  memory: { readonly ofDense?: ForwardMemory; readonly ofOther?: ForwardMemory } = {},
  other = changed,
) {
  const reference = await Predictions.compute(dense, backend, tokens, { ...options, memory: memory.ofDense });
  const predictions = await Predictions.compute(other, backend, tokens, {
    ...options,
    memory: memory.ofOther,
    reference,
  });
  reference.destroy();
  predictions.destroy();
  return predictions.figures;
}

eachBackend("Predictions", (backend) => {
  it("has the divergence of a naive float64 computation", async () => {
    const seqlen = 17, windows = 3, reference = readOptReference(OPT_SOTU_URL);
    const zeros = new Float64Array(reference.tensors.get(CHANGED)!.length);
    const other = { ...reference, tensors: new Map(reference.tensors).set(CHANGED, zeros) };
    const expected = Array.from({ length: windows }, (_, i) => {
      const window = tokens.subarray(i * seqlen, (i + 1) * seqlen);
      return meanDivergence(forwardOpt(reference, window).logits, forwardOpt(other, window).logits, seqlen);
    }).reduce((sum, divergence) => sum + divergence) / windows;
    const { divergence } = await compare(backend(), { seqlen, windows });
    assertClose([divergence!], [expected], 1e-5);
  });

  it("has no divergence from the same model", async () => {
    const { divergence } = await compare(backend(), { seqlen: 9, windows: 2 }, {}, dense);
    assert.ok(Math.abs(divergence!) < 1e-6, `is ${divergence}`);
  });

  it("frees the device's memory", async () => {
    const live = backend().counters.bytesLive;
    await compare(backend(), { seqlen: 9, windows: 2 });
    assert.equal(backend().counters.bytesLive, live);
  });
});

onCpu("Predictions", (backend) => {
  it("does not depend on the batches of either model, nor on where their hidden states are", async () => {
    const options = { seqlen: 32, windows: 7 }, small = { activationBytes: 1 << 19, hiddenStatesBytes: 0 };
    const smaller = { activationBytes: 1 << 18 };
    const { divergence: whole } = await compare(backend(), options);
    for (const memory of [{ ofDense: small }, { ofOther: small }, { ofDense: small, ofOther: smaller }]) {
      const { divergence } = await compare(backend(), options, memory);
      assertClose([divergence!], [whole!], 1e-6);
    }
  });

  it("fits models with the same tokens in the same windows only", async () => {
    const options = { seqlen: 8, windows: 2 };
    const reference = await Predictions.compute(dense, backend(), tokens, options);
    assert.ok(reference.fits(changed, tokens, options));
    assert.ok(
      !reference.fits(changed, tokens.map((id, i) => i === 15 ? id + 1 : id), options),
      "another token",
    );
    assert.ok(!reference.fits(changed, tokens, { ...options, seqlen: 9 }), "other windows");
    assert.ok(!reference.fits(changed, tokens, { ...options, windows: 3 }), "more windows");
    const padded = { ...dense, spec: { ...dense.spec, vocabSize: dense.spec.vocabSize + 64 } };
    assert.ok(!reference.fits(padded, tokens, options), "another vocabulary");
    reference.destroy();
  });
});
