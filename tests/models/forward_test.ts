/** The forward where opt-sotu itself does not go: weights in strips, no biases, plain norms, a head of its own. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { Embedding } from "../../src/models/embedding.ts";
import { opt } from "../../src/models/families/opt.ts";
import { Forward } from "../../src/models/forward.ts";
import { type Model, openModel } from "../../src/models/model.ts";
import { withReplacements } from "../../src/checkpoint/tensor_source.ts";
import { windowLogits } from "../support/logits.ts";
import { forwardOpt, type OptReference, readOptReference } from "../reference/opt_forward.ts";
import { assertClose } from "../support/assert_close.ts";
import { limitBuffers } from "../support/limited_backend.ts";
import { openOptSotu, OPT_SOTU_URL } from "../support/opt_sotu.ts";

const window = Uint32Array.of(48, 365, 436, 1160, 72, 467, 268, 15, 488, 85, 17, 1384, 498);

/** The reference with every tensor whose name matches filled with `value`. */
function filled(reference: OptReference, pattern: RegExp, value: number): OptReference {
  const tensors = [...reference.tensors].map(([name, values]): [string, Float64Array] => {
    return [name, pattern.test(name) ? values.map(() => value) : values];
  });
  return { ...reference, tensors: new Map(tensors) };
}

describe("the forward", () => {
  let backend: Backend;
  let checkpoint: Checkpoint;
  let model: Model;
  let reference: OptReference;
  before(async () => {
    backend = await createCpuBackend();
    checkpoint = await openOptSotu();
    model = openModel(checkpoint);
    reference = readOptReference(OPT_SOTU_URL);
  });
  after(async () => {
    await checkpoint.close();
    await backend.dispose();
  });

  it("takes weights in strips and logits in chunks where buffers are small", async () => {
    const small = limitBuffers(backend, window.length * 768 * 4);
    const actual = await windowLogits(model, small, window);
    assertClose(actual, forwardOpt(reference, window).logits, 2e-5);
  });

  it("goes without biases", async () => {
    const spec = opt.read({ ...checkpoint.config, enable_bias: false }, (name) => checkpoint.has(name));
    const expected = forwardOpt(filled(reference, /(proj|fc\d)\.bias$/, 0), window).logits;
    assertClose(await windowLogits({ ...model, spec }, backend, window), expected, 2e-5);
  });

  it("goes without the norms' weights", async () => {
    const settings = { ...checkpoint.config, layer_norm_elementwise_affine: false };
    const spec = opt.read(settings, (name) => checkpoint.has(name));
    const plain = filled(filled(reference, /norm\.weight$/, 1), /norm\.bias$/, 0);
    assertClose(
      await windowLogits({ ...model, spec }, backend, window),
      forwardOpt(plain, window).logits,
      2e-5,
    );
  });

  it("takes a head of its own", async () => {
    const head = await checkpoint.tensor("model.decoder.embed_tokens.weight");
    const weights = withReplacements(checkpoint, new Map([["lm_head.weight", head]]));
    const spec = opt.read(
      { ...checkpoint.config, tie_word_embeddings: false },
      (name) => checkpoint.has(name),
    );
    assert.deepEqual(
      await windowLogits({ spec, weights }, backend, window),
      await windowLogits(model, backend, window),
    );
  });

  it("shows a tap the input of every group and leaves out the last product, and the states as they were", async () => {
    const forward = await Forward.begin(backend, model, [window]);
    try {
      const read = async () => {
        const states: Uint8Array[] = [];
        await forward.states.visit(async (x) =>
          void states.push(await backend.read(x, 0, window.length * 192 * 4))
        );
        return states;
      };
      const before = await read();
      const seen: [string, number][] = [];
      const counted = async (work: Promise<void>) => {
        const { dispatches } = backend.counters;
        await work;
        return backend.counters.dispatches - dispatches;
      };
      const observing = await counted(
        forward.observeBlock(0, ([{ name }], _, rows) => seen.push([name, rows])),
      );
      assert.deepEqual(seen, [["self_attn.q_proj", 13], ["self_attn.out_proj", 13], ["fc1", 13], [
        "fc2",
        13,
      ]]);
      assert.deepEqual(await read(), before);
      // Without widening the last weight and its bias, the product, and adding the bias.
      assert.equal(await counted(forward.runBlock(0)) - observing, 4);
      assert.notDeepEqual(await read(), before);
    } finally {
      forward.destroy();
    }
  });

  it("names a tensor that does not fit the configuration, and frees what it loaded before", async () => {
    const live = backend.counters.bytesLive;
    const spec = opt.read({ ...checkpoint.config, ffn_dim: 700 }, (name) => checkpoint.has(name));
    await assert.rejects(windowLogits({ ...model, spec }, backend, window), {
      name: "ModelError",
      message: "tensor model.decoder.layers.0.fc1.weight: has shape [768,192], config.json says [700,192]",
    });
    assert.equal(backend.counters.bytesLive, live);
  });

  it("refuses windows of several lengths, or none", async () => {
    await assert.rejects(Forward.begin(backend, model, []), { name: "RangeError", message: /at least one/ });
    await assert.rejects(
      Forward.begin(backend, model, [window, window.subarray(1)]),
      /all must have the same length, got 13 and 12 tokens/,
    );
  });
});

describe("the embedding", () => {
  it("is the same by rows as from whole tables, and the sum of token and position", async () => {
    await using cleanup = new AsyncDisposableStack();
    const backend = cleanup.adopt(await createCpuBackend(), (opened) => opened.dispose());
    const checkpoint = cleanup.adopt(await openOptSotu(), (opened) => opened.close());
    const model = openModel(checkpoint);
    const windows = [Uint32Array.of(5, 2047, 5), Uint32Array.of(0, 1, 5)];
    const whole = await (await Embedding.open(backend, model)).gather(windows);
    const byRows = await (await Embedding.open(backend, model, 0)).gather(windows);
    assert.deepEqual(byRows, whole);
    const { tensors } = readOptReference(OPT_SOTU_URL);
    const token = tensors.get("model.decoder.embed_tokens.weight") ?? new Float64Array();
    const position = tensors.get("model.decoder.embed_positions.weight") ?? new Float64Array();
    const expected = windows.flatMap((ids) => [...ids]).flatMap((id, i) =>
      Array.from({ length: 192 }, (_, c) => token[id * 192 + c] + position[(i % 3 + 2) * 192 + c])
    );
    assertClose(whole, expected, 1e-7);
  });
});
