/** Tests that the client decodes the codes and the grid of a quantised weight, and passes them to the model source. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeAnswer } from "../../src/client/answers/layer_answer.ts";
import { Pare } from "../../src/client/pare.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor, QuantizedWeight } from "../../src/tensor/host_tensor.ts";
import { f32, FakeHost, maskOf, modelOf, report } from "./fake_host.ts";

/** The zeros of the grids are 0 and the scales 1, so a code stands for its own value. */
const QUANTIZED: QuantizedWeight = {
  codes: { dtype: "U8", shape: [2, 3], data: Uint8Array.of(0, 0, 0, 4, 5, 6) },
  scales: f32([2, 1], [1, 1]),
  zeros: f32([2, 1], [0, 0]),
};
const WEIGHT = f32([2, 3], [0, 0, 0, 4, 5, 6]), MASK = maskOf(2, 3, (entry) => entry >= 3);
const ROUNDED = { query: { bits: 4 }, tensors: { weight: WEIGHT } };

function answer(quantized: Partial<QuantizedWeight>): Uint8Array<ArrayBuffer> {
  return encode({ weight: WEIGHT, mask: MASK, ...quantized }, { report: JSON.stringify(report(2, 3)) });
}

describe("decodeAnswer()", () => {
  it("reads the codes, the scales and the zeros of a quantised weight", () => {
    assert.deepEqual(decodeAnswer(answer(QUANTIZED), ROUNDED).quantized, QUANTIZED);
  });

  it("returns no quantised weight if the answer has no codes, no scales and no zeros", () => {
    assert.ok(!("quantized" in decodeAnswer(answer({}), { query: {} })));
  });

  it("rejects an answer that lacks only the codes, the scales or the zeros, and names the missing tensor", () => {
    for (const missing of ["codes", "scales", "zeros"]) {
      const { [missing as "codes"]: _, ...rest } = QUANTIZED;
      assert.throws(() => decodeAnswer(answer(rest), ROUNDED), {
        name: "MalformedAnswerError",
        message: `answer for a layer: the tensor "${missing}" is missing`,
      });
    }
  });
});

describe("Pare.pruneModel()", () => {
  it("passes the quantised weight of each layer to the model source", async () => {
    const replaced: [string, HostTensor, QuantizedWeight | undefined][] = [];
    const source = modelOf({
      layers: [{ name: "a.weight", weight: WEIGHT }],
      replace: (...values) => Promise.resolve(void replaced.push([values[0], values[1], values[2]])),
    });
    const host = new FakeHost(() => new Response(answer(QUANTIZED)));
    const pare = new Pare({ baseUrl: "http://fake", fetch: host.fetch });
    for await (const event of pare.pruneModel(source, { method: "magnitude", bits: 4 })) {
      assert.ok(event.type !== "layer" || event.name === "a.weight");
    }
    assert.deepEqual(replaced, [["a.weight", WEIGHT, QUANTIZED]]);
    assert.deepEqual(host.log, ["POST /v1/layers?method=magnitude&bits=4"]);
  });
});
