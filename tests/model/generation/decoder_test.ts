/**
 * Tests the decoder with the trained model opt-sotu: prompts that run in several passes, and devices whose memory does not hold
 * all blocks. The tests of the families compare the logits of each token with those of the whole window.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../../src/device/backend.ts";
import { type TensorSource, withReplacements } from "../../../src/model/checkpoint/tensor_source.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { Decoder } from "../../../src/model/generation/decoder.ts";
import { generate } from "../../../src/model/generation/generate.ts";
import { openModel } from "../../../src/model/model.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { limitMemory } from "../../support/limited_backend.ts";
import { windowLogits } from "../../support/logits.ts";
import { openOptSotu, sotuTokens } from "../../support/opt_sotu.ts";

const VOCABULARY = 2048;

const text = await sotuTokens("evaluation");
const backend = await createCpuBackend();
const checkpoint = await openOptSotu(), model = openModel(checkpoint);
after(async () => {
  await checkpoint.close();
  await backend.dispose();
});

describe("Decoder", () => {
  /** Runs `prompt` and then the next three tokens of the text. Returns the logits after each. */
  async function decode(on: Backend, prompt: number): Promise<Float32Array[]> {
    const decoder = await Decoder.open(on, model, prompt + 3), rows = [];
    try {
      rows.push(await decoder.append(text.subarray(0, prompt)));
      for (let t = prompt; t < prompt + 3; t++) rows.push(await decoder.append(text.subarray(t, t + 1)));
    } finally {
      decoder.destroy();
    }
    return rows;
  }

  for (const prompt of [255, 256, 257, 509]) {
    it(`computes the logits of the whole window after a prompt of ${prompt} tokens`, async () => {
      const live = backend.counters.bytesLive;
      const all = await windowLogits(model, backend, text.subarray(0, prompt + 3));
      const rows = await decode(backend, prompt);
      rows.forEach((row, i) => {
        const at = (prompt - 1 + i) * VOCABULARY;
        assertClose(row, all.subarray(at, at + VOCABULARY), 1e-5, { label: `token ${prompt + i}` });
      });
      assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
    });
  }

  it("loads the last blocks again for each token if the device does not have the memory for all", async () => {
    const live = backend.counters.bytesLive, expected = await decode(backend, 20);
    const blockBytes = 4 * (4 * 192 * 192 + 2 * 192 * 768);
    const needed = blockBytes * model.spec.blockCount + 4 * VOCABULARY * 192;
    for (const missing of [1, 2.5]) {
      const small = limitMemory(backend, live + needed - missing * blockBytes);
      assertSame(await decode(small, 20), expected);
      assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
    }
    await assert.rejects(decode(limitMemory(backend, live + blockBytes), 20), {
      name: "OutOfDeviceMemoryError",
    });
    assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
  });

  for (const fails of [false, true]) {
    it(`frees the table of tokens${fails ? ", if the head cannot be read" : ""}`, async () => {
      const tables: Uint8Array[] = [];
      const weights: TensorSource = {
        has: (name) => model.weights.has(name),
        info: (name) => model.weights.info(name),
        async read(name, offset, length) {
          const bytes = await model.weights.read(name, offset, length);
          if (name !== model.spec.embedding.tokens) return bytes;
          if (fails && tables.length > 0) throw new Error("the disk fails");
          tables.push(bytes);
          return bytes;
        },
      };
      const opened = Decoder.open(backend, { ...model, weights }, 3);
      if (fails) await assert.rejects(opened, /the disk fails/);
      else (await opened).destroy();
      assert.equal(tables[0].byteLength, 0);
    });
  }

  it("refuses more tokens than the model has positions, and more than its capacity", async () => {
    await assert.rejects(
      Decoder.open(backend, model, 513),
      /sequence of 513 tokens: the model has positions for 512/,
    );
    const decoder = await Decoder.open(backend, model, 3);
    await assert.rejects(decoder.append(text.subarray(0, 4)), /4 tokens after 0: the capacity is 3 tokens/);
    await assert.rejects(decoder.append(text.subarray(0, 0)), /0 tokens after 0/);
    decoder.destroy();
  });
});

describe("generate()", () => {
  it("ends after the positions of the model, and after an end token", async () => {
    const prompt = text.subarray(0, 505);
    const all = await Array.fromAsync(generate(model, backend, prompt, { tokens: 50 }));
    assert.equal(all.length, 7);
    const endTokens = new Set([all[3]]), end = all.indexOf(all[3]);
    assert.deepEqual(
      await Array.fromAsync(generate(model, backend, prompt, { tokens: 50, endTokens })),
      all.slice(0, end + 1),
    );
  });

  it("refuses logits that are not finite", async () => {
    const name = "model.decoder.final_layer_norm.bias", bias = await checkpoint.tensor(name);
    const data = new Uint8Array(bias.data.byteLength).fill(0xff); // NaN in every dtype
    const broken = { ...model, weights: withReplacements(checkpoint, new Map([[name, { ...bias, data }]])) };
    await assert.rejects(Array.fromAsync(generate(broken, backend, Uint32Array.of(5, 6), { tokens: 2 })), {
      name: "ModelError",
      message: "the model computes logits that are not finite after 2 tokens",
    });
  });

  it("frees its memory if the caller stops early, or the signal aborts", async () => {
    const live = backend.counters.bytesLive,
      prompt = Uint32Array.of(5, 6, 7),
      controller = new AbortController();
    for await (const _ of generate(model, backend, prompt, { tokens: 9 })) break;
    assert.equal(backend.counters.bytesLive, live);
    await assert.rejects(async () => {
      for await (const _ of generate(model, backend, prompt, { tokens: 9, signal: controller.signal })) {
        controller.abort(new Error("stopped"));
      }
    }, /stopped/);
    assert.equal(backend.counters.bytesLive, live);
  });
});
