/**
 * Tests the SDK at the body limit of an edge, which is Pare's Cloudflare Worker in front of GPU hosts. A
 * layer over the limit is uploaded, and a job prunes it.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { digestOfBytes } from "../../../src/client/digests.ts";
import { PareError } from "../../../src/client/errors.ts";
import { pruneByJob } from "../../../src/client/jobs/prune_by_job.ts";
import { Pare } from "../../../src/client/pare.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { type Answer, f32, problem } from "../fake_host.ts";
import { EDGE, fakeEdge, type JobSolver, solvedFile } from "./fake_edge.ts";

const TENSORS = {
  weight: f32([2, 2], [1, 2, 3, 4]),
  hessian_upper: f32([3], [1, 0, 1]),
};

const tooLarge: Answer = () =>
  Response.json({ code: "too_large", detail: "too large", limit: 10, uploads: `${EDGE}/v1/uploads` }, {
    status: 413,
    headers: { "Content-Type": "application/problem+json" },
  });

describe("Pare.pruneLayer over the body limit of an edge", () => {
  it("uploads the tensors and prunes the layer by a job", async () => {
    const edge = fakeEdge(tooLarge, solvedFile);
    const submitted: [string, number][] = [];
    const onJob = (id: string, layers: number) => submitted.push([id, layers]);
    const pare = new Pare({ baseUrl: EDGE, fetch: edge.answer, onJob });
    const { weight, report } = await pare.pruneLayer(TENSORS, { blocksize: 2 });
    assert.deepEqual(weight, f32([2, 2], [0, 0, 3, 4]));
    assert.equal(report.rows, 2);
    assert.deepEqual(submitted.map(([, layers]) => layers), [1]);
    const [layer] = edge.jobs[0];
    assert.deepEqual(layer.parameters, { blocksize: 2 });
    assert.ok(layer.hessian !== layer.weight);
    assert.equal(edge.log[0], "POST /v1/layers");
    assert.equal(edge.log.at(-1), "GET /v1/blobs/DIGEST");
  });

  it("uploads validation statistics with the statistics, or with the weight if that has the statistics", async () => {
    const names = new Map<string, string[]>();
    const solve: JobSolver = (weight, layer, statistics) => {
      names.set(layer.name, [...decode(weight).tensors.keys()]);
      return solvedFile(weight, layer, statistics);
    };
    const edge = fakeEdge(tooLarge, solve), { weight, hessian_upper } = TENSORS;
    const [one, other] = [f32([3], [2, 0, 3]), f32([3], [2, 1, 3])],
      validation_hessian = f32([2, 2], [2, 0, 0, 3]);
    const layers = [
      { weight, hessian_upper, validation_hessian_upper: one },
      { weight, hessian_upper, validation_hessian_upper: one },
      { weight, hessian_upper, validation_hessian_upper: other },
      { weight, hessian_upper, validation_hessian },
      { weight, hessian: f32([2, 2], [1, 0, 0, 1]), validation_hessian },
    ].map((tensors, i) => ({ name: `${i}`, tensors }));
    for await (const _ of pruneByJob({ baseUrl: EDGE, fetch: edge.answer }, layers, { pollMs: 1 }));
    assert.deepEqual([...names.values()], [
      ...Array(4).fill(["weight"]),
      ["weight", "hessian", "validation_hessian"],
    ]);
    const digests = edge.jobs[0].map(({ hessian }) => hessian);
    const expected = [
      { hessian_upper, validation_hessian_upper: one },
      { hessian_upper, validation_hessian_upper: one },
      { hessian_upper, validation_hessian_upper: other },
      { hessian_upper, validation_hessian },
    ].map((tensors) => digestOfBytes(encode(new Map(Object.entries(tensors)))));
    assert.deepEqual(digests, [...await Promise.all(expected), undefined]);
  });

  it("uploads the tensors also if a proxy in front of the edge refuses the body", async () => {
    const edge = fakeEdge(() => new Response("<html>", { status: 413 }), solvedFile);
    const { weight } = await new Pare({ baseUrl: EDGE, fetch: edge.answer }).pruneLayer(TENSORS);
    assert.deepEqual(weight, f32([2, 2], [0, 0, 3, 4]));
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
