/**
 * An edge in the real Workers runtime, with hosts in processes of their own that solve its jobs. A job is a list of layers that the edge
 * (Pare's Cloudflare Worker) solves at GPU hosts.
 */

import assert from "node:assert/strict";
import type { ChildHost } from "../../scripts/processes/child_host.ts";
import { Jobs } from "../../src/client/jobs/jobs.ts";
import { decodeAnswer } from "../../src/client/answers/layer_answer.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import type { EdgeHost, LayerState } from "../../src/protocol/messages.ts";
import { file, floats } from "../layer/bodies.ts";
import { safetensorsHeaders } from "../routes/host.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { SECRET, startEdgeHost, until } from "./edge_hosts.ts";
import { fetchOnce, startEdge } from "./local_edge.ts";

/** The longest time to wait for the end of a job, in milliseconds. */
export const WAIT_MILLISECONDS = 30_000;

/** Returns the body of a random layer, whose calibration data are the inputs themselves instead of a Hessian. */
export function layerBody(rows: number, cols: number, seed: number): Uint8Array<ArrayBuffer> {
  return file({
    weight: floats("F32", [rows, cols], normals(rows * cols, seed)),
    inputs: floats("F32", [cols, cols], normals(cols * cols, seed + 1)),
  });
}

/** A running edge with its hosts, which are stopped together with the edge. */
export type JobEdge = Awaited<ReturnType<typeof startJobEdge>>;

/**
 * Starts an edge and `count` hosts, and waits until all hosts are registered. A layer waits one second for a host. `vars`
 * override the variables of the edge.
 */
export async function startJobEdge(count: number, vars: Record<string, string> = {}) {
  await using starting = new AsyncDisposableStack();
  const edge = await startEdge({ EDGE_HOST_WAIT: "1", ...vars }, { EDGE_HOST_SECRET: SECRET });
  starting.defer(edge.close);
  const jobs = new Jobs({ baseUrl: edge.url });
  const hosts: ChildHost[] = await Promise.all(
    Array.from({ length: count }, () => startEdgeHost(edge.url)),
  );
  starting.defer(async () => {
    await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  });

  async function aliveHosts(): Promise<EdgeHost[]> {
    const { hosts }: { hosts: EdgeHost[] } = await (await edge.request("/v1/hosts")).json();
    return hosts.filter(({ seen }) => seen > 0); // a host that is woken by a request was never seen
  }

  /** Uploads a body in one part, and returns its digest. */
  async function store(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
    const digest = formatDigest(await sha256(bytes));
    const begun = await edge.post("/v1/uploads", {
      size: bytes.length,
      sha256: digest.slice("sha256:".length),
    });
    const { upload, parts: [{ url }] } = await begun.json();
    const put = await fetchOnce(url, { method: "PUT", body: bytes });
    await put.body?.cancel();
    const parts = [{ number: 1, etag: put.headers.get("ETag")! }];
    const done = await edge.post(`/v1/uploads/${upload}/complete`, { parts });
    assert.deepEqual(await done.json(), { blob: digest });
    return digest;
  }

  /** Waits until the job has ended. Returns its layers, ordered by name. */
  async function settledLayers(id: string, timeoutMs = WAIT_MILLISECONDS): Promise<LayerState[]> {
    const layers: LayerState[] = [];
    const signal = AbortSignal.timeout(timeoutMs);
    for await (const layer of jobs.follow(id, { pollMs: 50, signal })) layers.push(layer);
    return layers.toSorted((a, b) => a.name.localeCompare(b.name));
  }

  /** Sends a layer to a host directly, and returns the answer. */
  async function solveDirectly(
    body: Uint8Array<ArrayBuffer>,
    query: string,
    hessian?: Uint8Array<ArrayBuffer>,
  ) {
    const { url } = hosts.at(-1)!, headers = safetensorsHeaders(body.length);
    if (hessian) {
      const digest = formatDigest(await sha256(hessian));
      const put = { method: "PUT", body: hessian, headers: safetensorsHeaders(hessian.length) };
      await (await fetchOnce(`${url}/v1/hessians/${digest}`, put)).body?.cancel();
      query += `&hessian=${digest}`;
    }
    const response = await fetchOnce(`${url}/v1/layers?${query}`, { method: "POST", body, headers });
    return decodeAnswer(await response.bytes(), { query: Object.fromEntries(new URLSearchParams(query)) });
  }

  await until("all hosts registered", async () => (await aliveHosts()).length === count || undefined);
  const running = starting.move();
  return {
    ...edge,
    jobs,
    /** The hosts that run. A test that stops a host removes it. */
    hosts,
    aliveHosts,
    store,
    settledLayers,
    solveDirectly,
    close: () => running.disposeAsync(),
  };
}
