/**
 * Tests variants of the forward pass that the fixture model opt-sotu (a small OPT) does not need: weights that are
 * divided among several buffers, and norms without weights. The expected logits come from a forward pass in float64.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { Embedding } from "../../src/model/embedding.ts";
import { opt } from "../../src/model/families/gpt/opt.ts";
import { Forward } from "../../src/model/forward.ts";
import { openModel } from "../../src/model/model.ts";
import { assertSame } from "../support/assert_same.ts";
import { windowLogits } from "../support/logits.ts";
import { forwardOpt, type OptReference, readOptReference } from "../reference/opt_forward.ts";
import { assertClose } from "../support/assert_close.ts";
import { limitBuffers } from "../support/limited_backend.ts";
import { openOptSotu, OPT_SOTU_URL } from "../support/opt_sotu.ts";

const window = Uint32Array.of(48, 365, 436, 1160, 72, 467, 268, 15, 488, 85, 17, 1384, 498);

/** Returns a copy of the reference in which every tensor whose name matches `pattern` is filled with `value`. */
function fillTensors(reference: OptReference, pattern: RegExp, value: number): OptReference {
  const tensors = [...reference.tensors].map(([name, values]): [string, Float64Array] => {
    return [name, pattern.test(name) ? values.map(() => value) : values];
  });
  return { ...reference, tensors: new Map(tensors) };
}

const backend = await createCpuBackend();
const checkpoint = await openOptSotu();
const model = openModel(checkpoint);
const reference = readOptReference(OPT_SOTU_URL);
after(async () => {
  await checkpoint.close();
  await backend.dispose();
});

describe("the forward pass", () => {
  it("divides weights among several buffers and computes logits in chunks if buffers are small", async () => {
    const small = limitBuffers(backend, window.length * 768 * 4);
    const actual = await windowLogits(model, small, window);
    assertClose(actual, forwardOpt(reference, window).logits, 2e-5);
  });

  it("supports norms without weights", async () => {
    const settings = { ...checkpoint.config, layer_norm_elementwise_affine: false };
    const spec = opt.read(settings, (name) => checkpoint.has(name));
    const plain = fillTensors(fillTensors(reference, /norm\.weight$/, 1), /norm\.bias$/, 0);
    assertClose(
      await windowLogits({ ...model, spec }, backend, window),
      forwardOpt(plain, window).logits,
      2e-5,
    );
  });

  it("passes the input of every group of layers to an observer, without running the last layer or changing the states", async () => {
    const forward = await Forward.begin(backend, model, [window]);
    try {
      const readStates = async () => {
        const states: Uint8Array[] = [];
        await forward.hiddenStates.visit(async (x) =>
          void states.push(await backend.read(x, 0, window.length * 192 * 4))
        );
        return states;
      };
      const before = await readStates();
      const observed: [string, number][] = [];
      const countDispatches = async (work: Promise<void>) => {
        const { dispatches } = backend.counters;
        await work;
        return backend.counters.dispatches - dispatches;
      };
      const observing = await countDispatches(
        forward.observeBlock(0, ([{ name }], _, rows) => observed.push([name, rows])),
      );
      assert.deepEqual(observed, [["self_attn.q_proj", 13], ["self_attn.out_proj", 13], ["fc1", 13], [
        "fc2",
        13,
      ]]);
      assertSame(await readStates(), before);
      // Observing skips four dispatches: the conversions of the last weight and of its bias to f32, the
      // product, and the addition of the bias.
      assert.equal(await countDispatches(forward.runBlock(0)) - observing, 4);
      assert.notDeepEqual(await readStates(), before);
    } finally {
      forward.destroy();
    }
  });

  it("names a tensor that contradicts the configuration, and frees the tensors loaded before it", async () => {
    const live = backend.counters.bytesLive;
    const spec = opt.read({ ...checkpoint.config, ffn_dim: 700 }, (name) => checkpoint.has(name));
    await assert.rejects(windowLogits({ ...model, spec }, backend, window), {
      name: "ModelError",
      message: "tensor model.decoder.layers.0.fc1.weight: has shape [768,192], config.json says [700,192]",
    });
    assert.equal(backend.counters.bytesLive, live);
  });

  it("refuses windows of different lengths, and an empty list of windows", async () => {
    await assert.rejects(Forward.begin(backend, model, []), { name: "RangeError", message: /at least one/ });
    await assert.rejects(
      Forward.begin(backend, model, [window, window.subarray(1)]),
      /all must have the same length, got 13 and 12 tokens/,
    );
  });
});

describe("the embedding", () => {
  it("adds the rows of token and position, whether it reads whole tables or single rows", async () => {
    await using cleanup = new AsyncDisposableStack();
    const backend = cleanup.adopt(await createCpuBackend(), (opened) => opened.dispose());
    const checkpoint = cleanup.adopt(await openOptSotu(), (opened) => opened.close());
    const model = openModel(checkpoint);
    const windows = [Uint32Array.of(5, 2047, 5), Uint32Array.of(0, 1, 5)];
    const whole = await (await Embedding.open(backend, model)).gather(windows);
    const byRows = await (await Embedding.open(backend, model, 0)).gather(windows);
    assertSame(byRows, whole);
    const { tensors } = readOptReference(OPT_SOTU_URL);
    const token = tensors.get("model.decoder.embed_tokens.weight") ?? new Float64Array();
    const position = tensors.get("model.decoder.embed_positions.weight") ?? new Float64Array();
    const expected = windows.flatMap((ids) => [...ids]).flatMap((id, i) =>
      Array.from({ length: 192 }, (_, c) => token[id * 192 + c] + position[(i % 3 + 2) * 192 + c])
    );
    assertClose(whole, expected, 1e-7);
  });
});
