/**
 * Tests jobs in the real Workers runtime, with hosts in processes of their own. A job is a list of layers
 * that the edge (Pare's Cloudflare Worker) solves at GPU hosts. Jobs succeed, fail or are cancelled, and one
 * host is killed.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { PareError } from "../../src/client/errors.ts";
import { JobFailedError, pruneByJob, type SolvedJobLayer } from "../../src/client/jobs/prune_by_job.ts";
import { type JobLayerRequest, Jobs } from "../../src/client/jobs/jobs.ts";
import { decodeAnswer } from "../../src/client/layer_file.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import type { JobSummary as Summary, LayerState } from "../../src/protocol/edge/jobs.ts";
import type { AliveHost } from "../../src/protocol/edge/hosts.ts";
import { signTicket } from "../../src/protocol/edge/tickets.ts";
import { file, floats, packUpper } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { safetensorsHeaders } from "../routes/host.ts";
import { normals } from "../support/random.ts";
import { type LocalEdge, startEdge } from "./local_edge.ts";

const SECRET = "a secret of thirty-two bytes: 123";
const HOSTS = 3;

/** The longest time to wait for a condition, in milliseconds. */
const WAIT_MILLISECONDS = 30_000;

/** Tests that take too long for the fast suite run only with PARE_SLOW=1. */
const SLOW = Deno.env.get("PARE_SLOW") === "1";

/** Returns the body of a random layer, whose calibration data are the inputs themselves instead of a Hessian. */
function layerBody(rows: number, cols: number, seed: number): Uint8Array<ArrayBuffer> {
  return file({
    weight: floats("F32", [rows, cols], normals(rows * cols, seed)),
    inputs: floats("F32", [cols, cols], normals(cols * cols, seed + 1)),
  });
}

/** Calls `ask` until it returns a value. @throws {Error} with the `condition` after `WAIT_MILLISECONDS` */
async function until<T>(condition: string, ask: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + WAIT_MILLISECONDS; Date.now() < end;) {
    const found = await ask();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`after ${WAIT_MILLISECONDS / 1000} s this had not happened: ${condition}`);
}

describe("jobs in the Workers runtime", () => {
  let edge: LocalEdge, hosts: ChildHost[], jobs: Jobs;
  before(async () => {
    edge = await startEdge({ EDGE_HOST_WAIT: "1" }, { EDGE_HOST_SECRET: SECRET });
    jobs = new Jobs({ baseUrl: edge.url });
    hosts = await Promise.all(
      Array.from({ length: HOSTS }, () =>
        startHost(["--backend", "cpu", "--edge", edge.url], {
          EDGE_HOST_SECRET: SECRET,
          PARE_BLOB_ORIGINS: edge.url,
        })),
    );
    await until("all hosts registered", async () => (await aliveHosts()).length === HOSTS || undefined);
  });
  after(async () => {
    await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
    await edge.close();
  });

  /** Returns the hosts that are alive. */
  async function aliveHosts(): Promise<AliveHost[]> {
    return (await (await edge.request("/v1/hosts")).json()).hosts;
  }

  /** Uploads a body in one part, and returns its digest. */
  async function store(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
    const digest = formatDigest(await sha256(bytes));
    const begun = await edge.post("/v1/uploads", {
      size: bytes.length,
      sha256: digest.slice("sha256:".length),
    });
    const { upload, parts: [{ url }] } = await begun.json();
    const put = await fetch(url, { method: "PUT", body: bytes });
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
      await (await fetch(`${url}/v1/hessians/${digest}`, put)).body?.cancel();
      query += `&hessian=${digest}`;
    }
    const response = await fetch(`${url}/v1/layers?${query}`, { method: "POST", body, headers });
    return decodeAnswer(await response.bytes());
  }

  it("a job finishes after one of its hosts is killed, with one retry of the layer at that host", async () => {
    // The first three layers are large, one per host, so that the chosen host is killed before it has solved its layer.
    const bodies = [[1100, 1100], [1000, 1100], [1100, 1000], [33, 47]].map(([rows, cols], index) =>
      layerBody(rows, cols, 10 * index + 1)
    );
    const layers: JobLayerRequest[] = await Promise.all(bodies.map(async (body, index) => ({
      name: `layer ${index}`,
      weight: await store(body),
      parameters: { pattern: index % 2 ? "2:4" : "unstructured" },
    })));
    const { id } = await jobs.submit(layers);
    const victim = await until("a host has a layer", async () => {
      for (const host of hosts) {
        const { queue } = await (await fetch(`${host.url}/readyz`)).json();
        if (queue.resident > 0) return host;
      }
    });
    Deno.kill(victim.pid, "SIGKILL");
    hosts.splice(hosts.indexOf(victim), 1);
    const states = await settledLayers(id);
    assert.deepEqual(states.map(({ state, error }) => [state, error]), layers.map(() => ["done", null]));
    const attempts = states.map(({ attempts }) => attempts);
    assert.equal(Math.max(...attempts), 2, `attempts ${attempts}`);
    for (const [index, layer] of states.entries()) {
      const pruned = await jobs.result(layer), pattern = layers[index].parameters!.pattern;
      assert.deepEqual(pruned.report, layer.report);
      const { weight, mask } = await solveDirectly(bodies[index], `pattern=${pattern}`);
      assert.deepEqual({ weight: pruned.weight, mask: pruned.mask }, { weight, mask }, layer.name);
    }
  });

  it("the layers of a job share statistics, and each failed layer has its own error", async () => {
    const n = 40,
      hessian = file({
        hessian_upper: floats("F32", [n * (n + 1) / 2], packUpper(correlatedHessian(n, { seed: 5 }), n)),
      });
    const shared = await store(hessian);
    const bodies = [3, 4].map((seed) => file({ weight: floats("F32", [16, n], normals(16 * n, seed)) }));
    const wide = file({ weight: floats("F32", [16, n + 1], normals(16 * (n + 1), 6)) });
    const { id } = await jobs.submit([
      { name: "a", weight: await store(bodies[0]), hessian: shared },
      { name: "b", weight: await store(bodies[1]), hessian: shared },
      { name: "c", weight: await store(wide), hessian: shared },
    ]);
    const states = await settledLayers(id);
    assert.deepEqual(states.map(({ state, attempts, error }) => [state, attempts, error?.code]), [
      ["done", 1, undefined],
      ["done", 1, undefined],
      ["failed", 1, "shape_mismatch"],
    ]);
    assert.equal((await jobs.get(id)).state, "failed");
    for (const [index, body] of bodies.entries()) {
      const pruned = await jobs.result(states[index]),
        { weight, mask } = await solveDirectly(body, "sparsity=0.5", hessian);
      assert.deepEqual({ weight: pruned.weight, mask: pruned.mask }, { weight, mask });
    }
  });

  it("pruneByJob() uploads shared statistics once, and yields all layers except one that fails", async () => {
    const n = 24,
      hessian_upper = floats("F32", [n * (n + 1) / 2], packUpper(correlatedHessian(n, { seed: 8 }), n));
    const weights = [1, 2].map((seed) => floats("F16", [12, n], normals(12 * n, seed)));
    const wrong = floats("F32", [12, n + 1], normals(12 * (n + 1), 3));
    const uploads: string[] = [];
    const send = (request: Request) => {
      if (request.method === "POST" && request.url.endsWith("/v1/uploads")) uploads.push(request.url);
      return fetch(request);
    };
    const layers = [weights[0], weights[1], wrong].map((weight, index) => ({
      name: `layer ${index}`,
      tensors: { weight, hessian_upper },
    }));
    const done: SolvedJobLayer[] = [];
    await assert.rejects(
      (async () => {
        const pruned = pruneByJob({ baseUrl: edge.url, fetch: send }, layers, { pollMs: 50 });
        for await (const layer of pruned) done.push(layer);
      })(),
      (error) => error instanceof JobFailedError && /^job \w+: layer 2: shape_mismatch: /.test(error.message),
    );
    assert.equal(uploads.length, 4);
    assert.deepEqual(done.map(({ name }) => name).toSorted(), ["layer 0", "layer 1"]);
    for (const { name, weight, mask } of done) {
      const tensors = layers.find((layer) => layer.name === name)!.tensors;
      const answer = await solveDirectly(file(tensors), "sparsity=0.5");
      assert.deepEqual({ weight, mask }, { weight: answer.weight, mask: answer.mask });
    }
  });

  it(
    "a job solves as many layers as OPT-175B has",
    { skip: !SLOW && "set PARE_SLOW=1" },
    async () => {
      const count = 576, seeds = Array.from({ length: 12 }, (_, index) => 100 + 2 * index);
      const weights: string[] = [];
      for (const seed of seeds) weights.push(await store(layerBody(16, 24, seed)));
      const { id } = await jobs.submit(Array.from({ length: count }, (_, index) => ({
        name: `layer ${index}`,
        weight: weights[index % weights.length],
        parameters: { sparsity: (1 + index % 8) / 10 },
      })));
      const states = await settledLayers(id, 8 * WAIT_MILLISECONDS);
      assert.equal(states.length, count);
      for (const { name, state, attempts, report } of states) {
        const sparsity = (1 + Number(name.slice("layer ".length)) % 8) / 10;
        assert.deepEqual([state, attempts, report?.zeros], ["done", 1, Math.round(sparsity * 16 * 24)], name);
      }
    },
  );

  it("a job is found again by its idempotency key, and another job with this key is refused", async () => {
    const weight = await store(layerBody(8, 16, 70));
    const layers = [{ name: "a", weight, parameters: { sparsity: 0.25 } }];
    const first = await jobs.submit(layers, { idempotencyKey: "key" });
    await settledLayers(first.id);
    const again = await jobs.submit(layers, { idempotencyKey: "key" });
    assert.deepEqual([again.id, again.state], [first.id, "done"]);
    await assert.rejects(
      jobs.submit([{ ...layers[0], name: "b" }], { idempotencyKey: "key" }),
      (error) => error instanceof PareError && error.code === "idempotency_conflict" && error.status === 409,
    );
    assert.notEqual((await jobs.submit(layers)).id, first.id);
  });

  it("a job can be read with an ETag and as a stream of events", async () => {
    const weight = await store(layerBody(8, 16, 80));
    const created = await edge.post("/v1/jobs", { layers: [{ name: "a", weight }] });
    assert.deepEqual([created.status, created.headers.get("Retry-After")], [202, "2"]);
    const path = created.headers.get("Location")!;
    assert.equal(path, `/v1/jobs/${(await created.json()).id}`);
    const text = await (await edge.request(path, { headers: { Accept: "text/event-stream" } })).text();
    const events = text.trim().split("\n\n").map((event) =>
      /^event: (\w+)\ndata: (.*)$/m.exec(event)!.slice(1)
    );
    assert.deepEqual([events[0][0], events.at(-1)![0]], ["job", "job"]);
    const last = JSON.parse(events.at(-1)![1]);
    assert.deepEqual([last.state, last.layers[0].state], ["done", "done"]);
    const now = await edge.request(path);
    assert.deepEqual([await now.json(), now.headers.get("Retry-After")], [last, null]);
    const same = await edge.request(path, { headers: { "If-None-Match": now.headers.get("ETag")! } });
    assert.deepEqual([same.status, await same.text()], [304, ""]);
  });

  it("a job can be cancelled", async () => {
    const weight = await store(layerBody(1100, 1100, 90));
    const { id } = await jobs.submit([{ name: "a", weight }]);
    await until("the layer runs", async () => (await jobs.get(id)).state === "running" || undefined);
    await jobs.cancel(id);
    const [layer] = await settledLayers(id);
    assert.deepEqual([layer.state, layer.error?.code, layer.result], ["cancelled", "cancelled", null]);
    assert.equal((await jobs.get(id)).state, "cancelled");
    await jobs.cancel(id);
    await assert.rejects(
      jobs.get("0".repeat(32)),
      (error) => error instanceof PareError && error.status === 404,
    );
  });

  it("a job whose blob does not exist is refused at once, with the name of the blob", async () => {
    const weight = await store(layerBody(8, 16, 60)), hessian = "sha256:" + "0".repeat(64);
    const response = await edge.post("/v1/jobs", { layers: [{ name: "q", weight, hessian }] });
    const { code, detail, blob } = await response.json();
    assert.deepEqual([response.status, code, blob], [404, "not_found", hessian]);
    assert.equal(detail, `layer q: blob ${hessian} is not stored`);
  });

  it("the list of jobs has the current states, newest first", async () => {
    const weight = await store(layerBody(8, 16, 61));
    const body = { name: "listed", layers: [{ name: "a", weight, parameters: { sparsity: 0.25 } }] };
    const { id } = await (await edge.post("/v1/jobs", body)).json();
    await settledLayers(id);
    const list = await (await edge.request("/v1/jobs?limit=2")).json();
    assert.deepEqual(
      list.jobs.map(({ id, name, state, layers }: Summary) => [id, name, state, layers.done])[0],
      [
        id,
        "listed",
        "done",
        1,
      ],
    );
    assert.equal(list.jobs.length, 2);
    const rest = await (await edge.request(`/v1/jobs?state=done&cursor=${list.cursor}`)).json();
    const times = [...list.jobs, ...rest.jobs].map(({ created }: Summary) => created);
    assert.deepEqual(times, times.toSorted().toReversed());
    assert.ok(rest.jobs.every(({ state }: Summary) => state === "done"));
    const [layer] = (await jobs.get(id)).layers;
    assert.deepEqual([layer.weight, layer.parameters.sparsity], [weight, 0.25]);
    const hostIds = (await aliveHosts()).map(({ id }) => id);
    assert.ok(hostIds.includes(layer.host!), "the layer names the host that solved it");
  });

  it("an invalid request for a job is refused", async () => {
    const weight = "sha256:" + "0".repeat(64);
    const bodies = [
      {},
      { layers: [] },
      { layers: [{ name: "a", weight }, { name: "a", weight }] },
      { layers: [{ name: "a", weight: "abc" }] },
      { layers: [{ name: "a", weight, parameters: { sparsity: 1 } }] },
      { layers: [{ name: "a", weight, parameters: { hessian: weight } }] },
    ];
    for (const body of bodies) {
      const response = await edge.post("/v1/jobs", body);
      assert.deepEqual(
        [response.status, (await response.json()).code],
        [400, "invalid_parameter"],
        JSON.stringify(body),
      );
    }
  });

  it("the edge registers a host only if its request has a valid ticket (a signature) that was not used before", async () => {
    const state = JSON.stringify(
      (await aliveHosts()).map(({ url, backend, adapter, capacity, queue, factors }) => ({
        url,
        backend,
        adapter,
        capacity,
        queue,
        factors,
      }))[0],
    );
    const path = "/v1/hosts/intruder";
    const subject = { audience: "edge", method: "PUT", path, body: new TextEncoder().encode(state) };
    const put = async (ticket: string, body = state) => {
      const headers = { "Content-Type": "application/json", Authorization: ticket };
      const response = await edge.request(path, { method: "PUT", headers, body });
      await response.body?.cancel();
      return response.status;
    };
    const forged = await signTicket(SECRET.toUpperCase(), subject, Date.now());
    const ticket = await signTicket(SECRET, subject, Date.now());
    assert.equal(await put("Bearer key"), 401);
    assert.equal(await put(forged), 401);
    assert.equal(await put(ticket, state.replace("cpu", "gpu")), 401);
    assert.equal(await put(ticket), 204);
    assert.equal(await put(ticket), 401);
    const leave = await signTicket(
      SECRET,
      { ...subject, method: "DELETE", body: new Uint8Array(0) },
      Date.now(),
    );
    await edge.request(path, { method: "DELETE", headers: { Authorization: leave } });
  });

  it("a job fails with no_device if no host is alive", async () => {
    await Promise.all(hosts.splice(0).map((host) => host[Symbol.asyncDispose]()));
    assert.deepEqual(await aliveHosts(), []);
    const { id } = await jobs.submit([{ name: "a", weight: await store(layerBody(8, 16, 100)) }]);
    const [{ error }] = await settledLayers(id);
    assert.deepEqual(error, { code: "no_device", detail: "no GPU host was alive for 1 s" });
  });
});
