/** Tests that the SDK verifies the digest of a result, which an edge takes from the host that wrote it. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { digestOfBytes } from "../../../src/client/digests.ts";
import { MalformedAnswerError } from "../../../src/client/errors.ts";
import { Jobs } from "../../../src/client/jobs/jobs.ts";
import type { LayerState } from "../../../src/protocol/messages.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { type Answer, f32, FakeHost, maskOf, report } from "../fake_host.ts";

const WEIGHT = f32([2, 2], [0, 0, 3, 4]);
const MASK = maskOf(2, 2, (entry) => entry >= 2);

/** Returns the bytes of a pruned layer. The value tells one layer from another. */
function layerFile(loss: number): Uint8Array<ArrayBuffer> {
  return encode({ weight: WEIGHT, mask: MASK }, { report: JSON.stringify({ ...report(2, 2), loss }) });
}

const RIGHT = layerFile(1), WRONG = layerFile(2);
const rightAnswer: Answer = () => new Response(RIGHT), wrongAnswer: Answer = () => new Response(WRONG);

/** The state of a layer whose result has the bytes `RIGHT`. */
async function doneLayer(): Promise<LayerState> {
  return {
    ...{ name: "q", weight: "", hessian: null, parameters: {}, state: "done", attempts: 1, host: null },
    ...{ report: report(2, 2), result: await digestOfBytes(RIGHT), error: null },
  };
}

describe("Jobs.result", () => {
  it("downloads a result once more if its bytes have another digest", async () => {
    const edge = new FakeHost(wrongAnswer, rightAnswer), layer = await doneLayer();
    const { report: { loss } } = await new Jobs({ baseUrl: "http://edge", fetch: edge.fetch }).result(layer);
    assert.equal(loss, 1);
    assert.deepEqual(edge.log, Array(2).fill(`GET /v1/blobs/${layer.result}`));
  });

  it("throws an error with both digests if the bytes are wrong again", async () => {
    const edge = new FakeHost(wrongAnswer), layer = await doneLayer(), got = await digestOfBytes(WRONG);
    await assert.rejects(
      new Jobs({ baseUrl: "http://edge", fetch: edge.fetch }).result(layer),
      new MalformedAnswerError(
        `blob ${layer.result}: the server has sent bytes with the digest ${got}, in 2 attempts`,
      ),
    );
    assert.equal(edge.received.length, 2);
  });
});
