/** Tests how models are compared on a text: against float64, for other batches, and for models whose predictions cannot be compared. */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Checkpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { readTensor, withReplacements } from "../../../src/model/checkpoint/tensor_source.ts";
import {
  comparePerplexities,
  computePerplexity,
  windowsAtOnce,
} from "../../../src/model/evaluation/perplexity.ts";
import type { ComparedPerplexity } from "../../../src/model/evaluation/text_measurement.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
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

/** Returns the model with additional activations in its plan, so that a batch has fewer windows. */
function withLargerActivations(model: Model): Model {
  const { spec } = model;
  return {
    ...model,
    spec: { ...spec, block: (index) => ({ ...spec.block(index), furtherActivations: [5000] }) },
  };
}

/** Returns the model with 64 more rows of embeddings, as published checkpoints pad them. */
async function withPaddedVocabulary(model: Model): Promise<Model> {
  const name = "model.decoder.embed_tokens.weight",
    { dtype, shape: [rows, cols], data } = await readTensor(model.weights, name);
  const padded = new Uint8Array(data.length / rows * (rows + 64));
  padded.set(data);
  const weights = withReplacements(
    model.weights,
    new Map([[name, { dtype, shape: [rows + 64, cols], data: padded }]]),
  );
  return {
    ...model,
    weights,
    spec: readModelSpec({ ...checkpoint.config, vocab_size: rows + 64 }, weights.has),
  };
}

/** Measures models on the evaluation text. The first one is the reference. */
function compare(
  models: readonly Model[],
  backend: Backend,
  options: Parameters<typeof comparePerplexities>[2],
): Promise<ComparedPerplexity[]> {
  return comparePerplexities(models.map((model) => ({ model, tokens })), backend, options);
}

eachBackend("comparePerplexities()", (backend) => {
  it("computes the divergence of a naive float64 computation", async () => {
    const seqlen = 17, windows = 3, reference = readOptReference(OPT_SOTU_URL);
    const zeros = new Float64Array(reference.tensors.get(CHANGED)!.length);
    const other = { ...reference, tensors: new Map(reference.tensors).set(CHANGED, zeros) };
    const expected = Array.from({ length: windows }, (_, i) => {
      const window = tokens.subarray(i * seqlen, (i + 1) * seqlen);
      return meanDivergence(forwardOpt(reference, window).logits, forwardOpt(other, window).logits, seqlen);
    }).reduce((sum, divergence) => sum + divergence) / windows;
    const [{ divergence: ofReference }, { divergence }] = await compare([dense, changed], backend(), {
      seqlen,
      windows,
    });
    assert.equal(ofReference, undefined);
    assertClose([divergence!], [expected], 1e-5);
  });

  it("computes no divergence from the same model, and the perplexities of models alone", async () => {
    const options = { seqlen: 9, windows: 2 };
    const [first, same, third] = await compare([dense, dense, changed], backend(), options);
    assert.ok(Math.abs(same.divergence!) < 1e-6, `is ${same.divergence}`);
    assert.equal(same.perplexity, first.perplexity);
    for (const [model, { perplexity }] of [[dense, first], [changed, third]] as const) {
      assert.equal(perplexity, (await computePerplexity(model, backend(), tokens, options)).perplexity);
    }
  });

  it("frees the device's memory, also when it is aborted while the second model runs", async () => {
    const live = backend().counters.bytesLive, options = { seqlen: 9, windows: 2 };
    await compare([dense, changed], backend(), options);
    assert.equal(backend().counters.bytesLive, live);
    for (const step of [1, 5]) {
      const stopping = new AbortController();
      const progress = (index: number, done: number) => {
        if (index === 1 && done === step) stopping.abort(new Error("enough"));
      };
      const { signal } = stopping;
      // The signal is seen at the next step, and the head is the last one.
      const models = [dense, changed, dense];
      await assert.rejects(compare(models, backend(), { ...options, signal, progress }), /enough/);
      assert.equal(backend().counters.bytesLive, live);
    }
  });
});

onCpu("comparePerplexities()", (backend) => {
  const options = { seqlen: 32, windows: 7 };

  it("does not depend on the batches of either model, on where hidden states are, and on how many windows run at once", async () => {
    const [, { divergence: whole, perplexity }] = await compare([dense, changed], backend(), options);
    const memory = { activationBytes: 1 << 20, hiddenStatesBytes: 0 };
    const others = [
      await compare([dense, changed], backend(), { ...options, memory }),
      await compare([dense, withLargerActivations(changed)], backend(), { ...options, memory }),
      await compare([withLargerActivations(dense), changed], backend(), { ...options, memory }),
      await compare([dense, changed], backend(), { ...options, windowsAtOnce: 3 }),
    ];
    for (const [, other] of others) {
      assertClose([other.divergence!], [whole!], 1e-6);
      assertClose([other.perplexity], [perplexity], 1e-6);
      assert.deepEqual([other.windows, other.tokens], [7, 7 * 31]);
    }
  });

  it("counts the steps of all windows, however many run at once", async () => {
    const steps: string[] = [];
    const progress = (index: number, done: number, total: number) =>
      void steps.push(`${index}: ${done}/${total}`);
    await compare([dense, changed], backend(), { seqlen: 8, windows: 3, windowsAtOnce: 2, progress });
    const stepsOf = (index: number, from: number) =>
      Array.from({ length: 5 }, (_, i) => `${index}: ${from + i}/10`);
    assert.deepEqual(steps, [...stepsOf(0, 1), ...stepsOf(1, 1), ...stepsOf(0, 6), ...stepsOf(1, 6)]);
  });

  it("compares models with the same tokens and vocabularies of the same size only", async () => {
    const text = tokens.subarray(0, 64), other = text.map((id, i) => i === 15 ? id + 1 : id);
    const inputs = [{ model: dense, tokens: text }, { model: changed, tokens: text }];
    const divergences = async (third: { model: Model; tokens: Uint32Array }) =>
      (await comparePerplexities([...inputs, third], backend(), { seqlen: 8 }))
        .map(({ divergence }) => divergence !== undefined);
    assert.deepEqual(await divergences({ model: changed, tokens: other }), [false, true, false]);
    assert.deepEqual(await divergences({ model: changed, tokens: text.subarray(0, 48) }), [
      false,
      true,
      false,
    ]);
    assert.deepEqual(await divergences({ model: await withPaddedVocabulary(dense), tokens: text }), [
      false,
      true,
      false,
    ]);
  });
});

it("windowsAtOnce() counts the hidden states of two models, within 4 GiB", () => {
  const { spec } = dense, windowBytes = 4 * 256 * spec.hiddenSize;
  assert.equal(windowsAtOnce([spec], 256), Math.floor(2 ** 32 / windowBytes));
  assert.equal(windowsAtOnce([spec, spec, spec], 256), Math.floor(2 ** 31 / windowBytes));
  assert.equal(windowsAtOnce([{ ...spec, hiddenSize: 2 ** 30 }], 256), 1);
});
