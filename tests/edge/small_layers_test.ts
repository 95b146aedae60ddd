/**
 * Tests layers that the edge (Pare's Cloudflare Worker) solves itself, without a GPU host. The Worker runs in
 * the real Workers runtime, and its answers are compared with those of a host with the cpu backend.
 */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { serve } from "../../routes/serve.ts";
import { Pare } from "../../src/client/pare.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { floats } from "../layer/bodies.ts";
import { codeOf } from "../routes/task_hosts.ts";
import { assertSame } from "../support/assert_same.ts";
import { makeLayer } from "../support/layers.ts";
import { startDevEdge, startEdge } from "./local_edge.ts";

const HEADERS = { "Content-Type": "application/vnd.safetensors" };

/** Returns random weights and a Hessian for them. */
function layerTensors(rows: number, cols: number): { weight: HostTensor; hessian: HostTensor } {
  const { weight, hessian } = makeLayer(rows, cols, { seed: rows + cols });
  return { weight: floats("F32", [rows, cols], weight), hessian: floats("F32", [cols, cols], hessian) };
}

const edge = await startEdge({ EDGE_SOLVE: "true" });
const host = await serve({ backend: "cpu", port: 0, log: () => {} });
after(() => Promise.all([edge.close(), host.shutdown()]));

describe("an edge that solves small layers itself", () => {
  const post = (url: string, query: string, body: Uint8Array<ArrayBuffer>) =>
    fetch(`${url}/v1/layers?${query}`, { method: "POST", headers: HEADERS, body });

  for (
    const [rows, cols, query] of [
      [1, 1, "sparsity=0"],
      [33, 129, "sparsity=0.5"],
      [64, 96, "pattern=2:4&dtype=BF16"],
      [256, 512, "method=magnitude"],
      [1024, 1024, "sparsity=0.6"],
    ] as const
  ) {
    it(`answers a ${rows}×${cols} layer with ${query} bit for bit like a host`, async () => {
      const body = encode(layerTensors(rows, cols));
      const [edgeAnswer, hostAnswer] = await Promise.all(
        [edge.url, host.url].map((url) => post(url, query, body)),
      );
      assert.deepEqual([edgeAnswer.status, hostAnswer.status], [200, 200]);
      const [edgeFile, hostFile] = [
        decode(new Uint8Array(await edgeAnswer.arrayBuffer())),
        decode(new Uint8Array(await hostAnswer.arrayBuffer())),
      ];
      assertSame(edgeFile.tensors, hostFile.tensors);
      const { seconds: _, adapter, ...report } = JSON.parse(edgeAnswer.headers.get("Pare-Report")!);
      const { seconds: __, adapter: ___, ...expected } = JSON.parse(hostAnswer.headers.get("Pare-Report")!);
      assert.deepEqual(report, expected);
      assert.match(adapter, /on the calling thread/);
    });
  }

  it("uses validation statistics like a host", async () => {
    const { hessian: validation_hessian } = layerTensors(20, 96), query = "pattern=2:4&bits=4&refit=3";
    const body = encode({ ...layerTensors(64, 96), validation_hessian });
    const [edgeAnswer, hostAnswer] = await Promise.all(
      [edge.url, host.url].map((url) => post(url, query, body)),
    );
    const [report, expected] = [edgeAnswer, hostAnswer].map(({ headers }) =>
      JSON.parse(headers.get("Pare-Report")!)
    );
    assert.ok(expected.validation_error > 0);
    assert.equal(report.validation_error, expected.validation_error);
    const [edgeFile, hostFile] = await Promise.all([edgeAnswer, hostAnswer].map((answer) => answer.bytes()));
    assertSame(decode(edgeFile).tensors, decode(hostFile).tensors);
  });

  it("refuses a repeated parameter, as a host does", async () => {
    for (const { url } of [edge, host]) {
      const answer = await post(url, "sparsity=0.5&sparsity=0.6", encode(layerTensors(4, 4)));
      const { errors } = await answer.json();
      const expected = [{ parameter: "sparsity", detail: "is given more than once" }];
      assert.deepEqual([answer.status, errors], [400, expected], url);
    }
  });

  it("reports itself as up and ready without a host, and describes its resources", async () => {
    assert.deepEqual(await (await edge.request("/healthz")).json(), { status: "up" });
    const { backend, limits } = await (await edge.request("/readyz")).json();
    assert.deepEqual([backend, limits.max_features], ["cpu", 1024]);
    const { paths } = await (await edge.request("/openapi.json")).json();
    assert.ok("/v1/layers" in paths && "/v1/uploads" in paths);
    assert.deepEqual(await codeOf(await edge.request("/v1/uploads")), [405, "method_not_allowed"]);
    assert.deepEqual(await codeOf(await edge.request("/metrics")), [503, "no_device"]);
  });

  it("refuses larger layers without a host, and names the limits", async () => {
    const wide = await post(
      edge.url,
      "method=magnitude",
      encode({ weight: floats("F32", [1, 1025], new Float32Array(1025)) }),
    );
    assert.equal(wide.status, 503);
    const { code, detail } = await wide.json();
    assert.equal(code, "no_device");
    assert.match(detail, /has 1025 rows or columns.*1024 rows and columns/);
    const long = encode({
      ...layerTensors(4, 4),
      inputs: floats("F32", [2 ** 20 + 1, 4], new Float32Array(4 * (2 ** 20 + 1))),
    });
    assert.deepEqual(await codeOf(await post(edge.url, "", long)), [503, "no_device"]);
  });

  it("forwards larger layers if there is a host", async () => {
    const both = await startDevEdge({ EDGE_SOLVE: "true", EDGE_HOST: host.url });
    try {
      const wide = encode({ weight: floats("F32", [1, 1025], new Float32Array(1025).fill(1)) });
      // A body over the limit in bytes is not read into memory. It is forwarded as a stream.
      const long = encode({ weight: floats("F32", [4200, 1025], new Float32Array(4200 * 1025).fill(1)) });
      for (const body of [wide, long]) {
        const answer = await post(both.url, "method=magnitude", body);
        await answer.body?.cancel();
        const { adapter, cols } = JSON.parse(answer.headers.get("Pare-Report")!);
        assert.equal(cols, 1025);
        assert.match(adapter, /threads?$/);
      }
      const small = await post(both.url, "method=magnitude", encode(layerTensors(4, 4)));
      assert.match(small.headers.get("Pare-Report")!, /on the calling thread/);
      await small.body?.cancel();
    } finally {
      await both.close();
    }
  });

  it("answers invalid requests with the same codes as a host", async () => {
    const { weight, hessian } = layerTensors(8, 8);
    const refused = async (query: string, body: Uint8Array<ArrayBuffer>) =>
      await codeOf(await post(edge.url, query, body));
    assert.deepEqual(await refused("sparsity=2", encode({ weight, hessian })), [400, "invalid_parameter"]);
    assert.deepEqual(await refused("effort=best", encode({ weight, hessian })), [400, "invalid_parameter"]);
    assert.deepEqual(await refused("", new Uint8Array(7)), [400, "truncated_body"]);
    assert.deepEqual(await refused("", encode({ weight })), [422, "shape_mismatch"]);
    assert.deepEqual(await refused("", encode({ weight, hessian }).slice(0, -1)), [400, "truncated_body"]);
    const nan = floats("F32", [8, 8], new Float32Array(64).fill(NaN));
    assert.deepEqual(await refused("", encode({ weight: nan, hessian })), [422, "non_finite"]);
    const stored = `hessian=sha256:${"0".repeat(64)}`;
    assert.deepEqual(await refused(stored, encode({ weight })), [404, "hessian_not_found"]);
    const typed = await edge.request("/v1/layers", { method: "POST", body: "text" });
    assert.deepEqual(await codeOf(typed), [415, "unsupported_media_type"]);
    assert.equal(
      (await post(edge.url, "", encode({ weight, hessian }))).status,
      200,
      "a valid layer is still solved after these requests",
    );
  });

  it("prunes a layer for the SDK, but refuses to store statistics", async () => {
    const pare = new Pare({ baseUrl: edge.url });
    const { weight, hessian } = layerTensors(16, 24);
    const { report } = await pare.pruneLayer({ weight, hessian }, { sparsity: 0.25 });
    assert.equal(report.zeros, 16 * 24 / 4);
    await assert.rejects(pare.putHessian(floats("F32", [1], new Float32Array([1]))), { code: "too_large" });
  });
});
