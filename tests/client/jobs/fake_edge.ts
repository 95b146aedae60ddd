/**
 * A fake edge, which is Pare's Cloudflare Worker in front of GPU hosts. It stores uploads as blobs, ends each job at once, and answers
 * requests for single layers as the test says.
 */

import { digestOfBytes } from "../../../src/client/digests.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { type Answer, answerOf, type Received, report, type Statistics } from "../fake_host.ts";

/** The default address of the edge. */
export const EDGE = "http://edge.test";

/** A layer of a submitted job, or a block of its model. */
export interface SubmittedLayer {
  readonly name: string;
  readonly weight: string;
  readonly hessian?: string;
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** The result of a block in an earlier job. */
  readonly result?: string;
}

/**
 * Returns the bytes of the result of a layer, or the members of its state if it has no result. `weight` is its uploaded file, and
 * `statistics` has the tensors of both of its files.
 */
export type JobSolver = (
  weight: Uint8Array<ArrayBuffer>,
  layer: SubmittedLayer,
  statistics: Statistics,
) => { readonly bytes: Uint8Array<ArrayBuffer> } | { readonly error: { code: string; detail: string } };

/** Solves a layer as the fake host does. */
export const solvedFile = (
  weight: Uint8Array<ArrayBuffer>,
  _layer: SubmittedLayer,
  statistics: Statistics,
) => ({ bytes: answerOf(decode(weight).tensors.get("weight")!, { statistics }) });

/** A fake edge: its log of requests, the layers of each submitted job, and its request handler. */
export interface FakeEdge {
  readonly log: string[];
  readonly jobs: (readonly SubmittedLayer[])[];
  readonly answer: (request: Request) => Promise<Response>;
}

/**
 * Makes a fake edge.
 * @param refusal the answer to a request for a single layer or for statistics
 * @param changeJob changes a job before it is sent
 */
export function fakeEdge(
  refusal: Answer,
  solve: JobSolver,
  { changeJob = (job: object): unknown => job, url: base = EDGE } = {},
): FakeEdge {
  const log: string[] = [], blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  const uploads = new Map<string, string>(), jobs: (readonly SubmittedLayer[])[] = [];

  let model: object | undefined;
  const layerState = async (layer: SubmittedLayer) => {
    const { name, weight, hessian = null, result: earlier } = layer;
    const asked = { name, weight, hessian, parameters: {}, attempts: 1, host: null };
    if (earlier) return { ...asked, state: "done", report: null, result: earlier, error: null };
    const files = [weight, hessian].flatMap((digest) =>
      digest ? [...decode(blobs.get(digest)!).tensors] : []
    );
    const outcome = solve(blobs.get(weight)!, layer, new Map(model ? [] : files));
    if ("error" in outcome) return { ...asked, state: "failed", report: null, result: null, ...outcome };
    const result = await digestOfBytes(outcome.bytes);
    blobs.set(result, outcome.bytes);
    return { ...asked, state: "done", report: model ? null : report(2, 2), result, error: null };
  };

  const answer = async (request: Request): Promise<Response> => {
    const url = new URL(request.url), body = new Uint8Array(await request.arrayBuffer());
    const path = url.pathname, json = () => JSON.parse(new TextDecoder().decode(body));
    log.push(`${request.method} ${path.replace(/sha256:.*/, "DIGEST")}`);
    if (path === "/v1/layers" || path.startsWith("/v1/hessians/")) {
      const received: Received = { method: request.method, path, headers: request.headers, body };
      return await refusal(received);
    }
    if (path === "/v1/hosts") {
      const device = { backend: "cpu", adapter: "fake", capacity: 1, queue: { waiting: 0, resident: 0 } };
      return Response.json({ hosts: [{ id: "host", url: "http://host", ...device, factors: [], seen: 0 }] });
    }
    if (path.startsWith("/v1/blobs/")) {
      const blob = blobs.get(path.slice("/v1/blobs/".length));
      if (request.method === "HEAD") return new Response(null, { status: blob ? 200 : 404 });
      return new Response(blob);
    }
    if (path === "/v1/uploads") {
      const upload = `u${uploads.size}`;
      uploads.set(upload, json().sha256);
      const parts = [{ number: 1, url: `${new URL(base).origin}/bucket/${upload}` }];
      return Response.json({ upload, part_size: 2 ** 26, parts, expires: "2030-01-01T00:00:00Z" }, {
        status: 201,
      });
    }
    if (path.startsWith("/bucket/")) {
      blobs.set(uploads.get(path.slice("/bucket/".length))!, body);
      return new Response(null, { headers: { ETag: '"1"' } });
    }
    if (path.endsWith("/complete")) return Response.json({ blob: uploads.get(path.split("/")[3]) });
    if (request.method === "GET" && path === "/v1/jobs") return Response.json({ jobs: [], cursor: null });
    if (request.method === "DELETE") return new Response(null, { status: 204 });
    if (request.method === "POST") {
      const { layers, model: { blocks, ...rest } = {} } = json();
      model = blocks && rest;
      jobs.push(layers ?? blocks);
    }
    const layers = await Promise.all(jobs.at(-1)!.map(layerState));
    const state = layers.some((layer) => layer.state === "failed") ? "failed" : "done";
    const ended = "2026-01-01T00:00:00.000Z";
    const job = { id: "j1", name: null, state, created: ended, ended, layers, ...model && { model } };
    return Response.json(changeJob(job));
  };
  return { log, jobs, answer };
}
