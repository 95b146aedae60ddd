/**
 * Tests the SDK at the body limit of an edge, which is Pare's Cloudflare Worker in front of GPU hosts. A
 * layer over the limit is uploaded, and a job prunes it.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { digestOfBytes } from "../../../src/client/digests.ts";
import { PareError } from "../../../src/client/errors.ts";
import { Pare } from "../../../src/client/pare.ts";
import { decode } from "../../../src/safetensors/decode.ts";
import { encode } from "../../../src/safetensors/encode.ts";
import { type Answer, f32, problem, type Received, report } from "../fake_host.ts";

const EDGE = "http://edge.test";
const TENSORS = {
  weight: f32([2, 2], [1, 2, 3, 4]),
  hessian_upper: f32([3], [1, 0, 1]),
};

/**
 * Makes a fake edge that answers each request for a layer or statistics with `refusal`. It stores uploads as
 * blobs, and ends each job at once. `jobLayer` gets the bytes of a layer's weight and returns the outcome of
 * the layer.
 */
function fakeEdge(refusal: Answer, jobLayer: (weight: Uint8Array<ArrayBuffer>) => object) {
  const log: string[] = [], blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  const uploads = new Map<string, string>(), jobs: unknown[] = [];
  const answer = async (request: Request): Promise<Response> => {
    const url = new URL(request.url), body = new Uint8Array(await request.arrayBuffer());
    const path = url.pathname, json = () => JSON.parse(new TextDecoder().decode(body));
    log.push(`${request.method} ${path.replace(/sha256:.*/, "DIGEST")}`);
    if (path === "/v1/layers" || path.startsWith("/v1/hessians/")) {
      const received: Received = { method: request.method, path, headers: request.headers, body };
      return await refusal(received);
    }
    if (path.startsWith("/v1/blobs/")) {
      const blob = blobs.get(path.slice("/v1/blobs/".length));
      if (request.method === "HEAD") return new Response(null, { status: blob ? 200 : 404 });
      return new Response(blob);
    }
    if (path === "/v1/uploads") {
      const upload = `u${uploads.size}`;
      uploads.set(upload, json().sha256);
      const parts = [{ number: 1, url: `${EDGE}/bucket/${upload}` }];
      return Response.json({ upload, part_size: 2 ** 26, parts, expires: "2030-01-01T00:00:00Z" }, {
        status: 201,
      });
    }
    if (path.startsWith("/bucket/")) {
      blobs.set(uploads.get(path.slice("/bucket/".length))!, body);
      return new Response(null, { headers: { ETag: '"1"' } });
    }
    if (path.endsWith("/complete")) return Response.json({ blob: uploads.get(path.split("/")[3]) });
    const [layer] = request.method === "POST" ? json().layers : [jobs.at(-1)];
    if (request.method === "POST") jobs.push(layer);
    const { bytes, ...rest } = jobLayer(blobs.get(layer.weight)!) as { bytes?: Uint8Array<ArrayBuffer> };
    const result = bytes ? await digestOfBytes(bytes) : null, state = bytes ? "done" : "failed";
    if (bytes) blobs.set(result!, bytes);
    const asked = { name: layer.name, weight: layer.weight, hessian: layer.hessian ?? null, parameters: {} };
    return Response.json({
      id: "j1",
      name: null,
      state,
      created: "2026-01-01T00:00:00.000Z",
      ended: "2026-01-01T00:00:00.000Z",
      layers: [{ ...asked, state, attempts: 1, host: null, report: null, result, error: null, ...rest }],
    });
  };
  return { log, jobs, answer };
}

const tooLarge: Answer = () =>
  Response.json({ code: "too_large", detail: "too large", limit: 10, uploads: `${EDGE}/v1/uploads` }, {
    status: 413,
    headers: { "Content-Type": "application/problem+json" },
  });

/** Returns the outcome of a layer that was solved without pruning any weight. */
function solvedFile(body: Uint8Array<ArrayBuffer>): object {
  const weight = decode(body).tensors.get("weight")!;
  const mask = { dtype: "U8", shape: [2, 1], data: new Uint8Array([3, 3]) } as const;
  return {
    bytes: encode({ weight, mask }, { report: JSON.stringify(report(2, 2)) }),
  };
}

describe("Pare.pruneLayer over the body limit of an edge", () => {
  it("uploads the tensors and prunes the layer by a job", async () => {
    const edge = fakeEdge(tooLarge, solvedFile);
    const submitted: [string, number][] = [];
    const onJob = (id: string, layers: number) => submitted.push([id, layers]);
    const pare = new Pare({ baseUrl: EDGE, fetch: edge.answer, onJob });
    const { weight, report } = await pare.pruneLayer(TENSORS, { sparsity: 0.25 });
    assert.deepEqual(weight, TENSORS.weight);
    assert.equal(report.rows, 2);
    assert.deepEqual(submitted.map(([, layers]) => layers), [1]);
    const [layer] = edge.jobs as { weight: string; hessian: string; parameters: object }[];
    assert.deepEqual(layer.parameters, { sparsity: 0.25 });
    assert.ok(layer.hessian !== layer.weight);
    assert.equal(edge.log[0], "POST /v1/layers");
    assert.equal(edge.log.at(-1), "GET /v1/blobs/DIGEST");
  });

  it("uploads the tensors also if a proxy in front of the edge refuses the body", async () => {
    const edge = fakeEdge(() => new Response("<html>", { status: 413 }), solvedFile);
    const { weight } = await new Pare({ baseUrl: EDGE, fetch: edge.answer }).pruneLayer(TENSORS);
    assert.deepEqual(weight, TENSORS.weight);
  });

  it("throws a PareError with the error of the layer if the job fails", async () => {
    const error = { code: "not_positive_definite", detail: "order 2" };
    const edge = fakeEdge(tooLarge, () => ({ error }));
    await assert.rejects(
      new Pare({ baseUrl: EDGE, fetch: edge.answer }).pruneLayer(TENSORS),
      (e: Error) =>
        e instanceof PareError && e.code === error.code && e.status === 422 && e.detail === "order 2",
    );
  });

  it("throws the refusal if the server is a host, which accepts no uploads", async () => {
    const edge = fakeEdge(problem(413, "too_large"), solvedFile);
    await assert.rejects(new Pare({ baseUrl: EDGE, fetch: edge.answer }).pruneLayer(TENSORS), {
      code: "too_large",
    });
    assert.deepEqual(edge.log, ["POST /v1/layers"]);
  });
});
