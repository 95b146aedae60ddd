/** The answer to a refused request stays short, however long the names, lists and texts are that it quotes from the request. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { encodeHeader, type TensorSpec } from "../../src/tensor/safetensors/encode.ts";
import { startHost } from "../routes/host.ts";

/** The longest answer, in bytes. It has room for 20 parameters with their reasons. */
const MAX_ANSWER_BYTES = 16_384;

const LAYERS = "/v1/layers?method=magnitude";
const LONG = "é".repeat(400_000);

function fileOf(...tensors: TensorSpec[]): Uint8Array<ArrayBuffer> {
  const { bytes, dataBytes } = encodeHeader(tensors);
  const file = new Uint8Array(bytes.length + dataBytes);
  file.set(bytes);
  return file;
}

/** A file whose header is this JSON, without data. */
function fileWithHeader(json: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(json), file = new Uint8Array(8 + text.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

const host = await startHost();
after(() => host.close());

describe("a host that refuses a request with long contents", () => {
  const weight: TensorSpec = { name: "weight", dtype: "F32", shape: [1, 1] };
  const bodies: Record<string, () => Uint8Array<ArrayBuffer>> = {
    "the name of an unknown tensor": () => fileOf(weight, { name: LONG, dtype: "F32", shape: [1] }),
    "a shape of rank 100,000": () => fileOf({ name: "weight", dtype: "F32", shape: Array(100_000).fill(1) }),
    "a mask of rank 100,000": () =>
      fileOf(weight, { name: "mask", dtype: "U8", shape: [...Array(100_000).fill(1), 2] }),
    "an unknown dtype": () =>
      fileWithHeader(JSON.stringify({ w: { dtype: LONG, shape: [], data_offsets: [0, 0] } })),
    "an unknown key": () => fileWithHeader(JSON.stringify({ w: { [LONG]: 1 } })),
    "a repeated key": () => fileWithHeader(`{"${LONG}":1,"${LONG}":1}`),
    "metadata that is not a text": () => fileWithHeader(JSON.stringify({ __metadata__: { [LONG]: [LONG] } })),
  };
  for (const [name, body] of Object.entries(bodies)) {
    it(`answers ${name} shortly`, async () => {
      const response = await host.send("POST", LAYERS, body());
      assert.ok([400, 422].includes(response.status), `${response.status}`);
      const text = await response.text();
      assert.ok(new TextEncoder().encode(text).length < 4096, `${text.length} characters`);
    });
  }

  const requests: Record<string, () => Promise<Response>> = {
    "a long path": () => host.request(`/${"x".repeat(50_000)}`),
    "a method for a long path": () => host.request(`/v1/hessians/${"x".repeat(50_000)}`, { method: "PATCH" }),
    "a long digest": () => host.request(`/v1/hessians/${"x".repeat(50_000)}`),
    "a long value": () => host.request(`${LAYERS}&pattern=${"x".repeat(50_000)}`, { method: "POST" }),
    "a long name": () => host.request(`${LAYERS}&${"x".repeat(50_000)}=1`, { method: "POST" }),
    "2,000 unknown parameters": () =>
      host.request(`${LAYERS}&${Array.from({ length: 2000 }, (_, i) => `unknown${i}=1`).join("&")}`, {
        method: "POST",
      }),
    "a long media type": () =>
      host.request(LAYERS, { method: "POST", headers: { "Content-Type": "x".repeat(50_000) } }),
    "a long key": () =>
      host.request("/v1/layers", {
        method: "POST",
        headers: { Authorization: `Bearer ${"x".repeat(50_000)}` },
      }),
  };
  for (const [name, request] of Object.entries(requests)) {
    it(`answers ${name} shortly`, async () => {
      const response = await request();
      assert.ok(response.status >= 400 && response.status < 500, `${response.status}`);
      const text = await response.text();
      assert.ok(text.length < MAX_ANSWER_BYTES, `${text.length} characters`);
    });
  }

  it("lists the first 20 of many invalid parameters, and says how many there are", async () => {
    const { errors, detail } = await (await requests["2,000 unknown parameters"]()).json();
    assert.equal(errors.length, 20);
    assert.match(detail, /^unknown0: is not a parameter; .*… and 1980 more$/);
  });
});
