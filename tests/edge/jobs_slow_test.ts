/**
 * Tests jobs in the real Workers runtime, with hosts in processes of their own. A job is a list of layers
 * that the edge (Pare's Cloudflare Worker) solves at GPU hosts. Jobs succeed, fail or are cancelled, and one
 * host is killed.
 */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { PareError } from "../../src/client/errors.ts";
import { JobFailedError, pruneByJob, type SolvedJobLayer } from "../../src/client/jobs/prune_by_job.ts";
import type { JobLayerRequest } from "../../src/client/jobs/jobs.ts";
import type { JobSummary as Summary } from "../../src/protocol/messages.ts";
import { file, floats, packUpper } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { assertSame } from "../support/assert_same.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { busyHost, until } from "./edge_hosts.ts";
import { layerBody, startJobEdge } from "./job_edge.ts";

const HOSTS = 3;

const edge = await startJobEdge(HOSTS);
after(() => edge.close());

describe("jobs in the Workers runtime", () => {
  it("a job finishes after one of its hosts is killed, with one retry of the layer at that host", async () => {
    // The first three layers are large, one per host, so that the chosen host is killed before it has solved its layer.
    const bodies = [[1100, 1100], [1000, 1100], [1100, 1000], [33, 47]].map(([rows, cols], index) =>
      layerBody(rows, cols, 10 * index + 1)
    );
    const layers: JobLayerRequest[] = await Promise.all(bodies.map(async (body, index) => ({
      name: `layer ${index}`,
      weight: await edge.store(body),
      parameters: { pattern: index % 2 ? "2:4" : "unstructured" },
    })));
    const { id } = await edge.jobs.submit(layers);
    const victim = await busyHost(edge.hosts);
    Deno.kill(victim.pid, "SIGKILL");
    edge.hosts.splice(edge.hosts.indexOf(victim), 1);
    const states = await edge.settledLayers(id);
    assert.deepEqual(states.map(({ state, error }) => [state, error]), layers.map(() => ["done", null]));
    const attempts = states.map(({ attempts }) => attempts);
    assert.equal(Math.max(...attempts), 2, `attempts ${attempts}`);
    for (const [index, layer] of states.entries()) {
      const pruned = await edge.jobs.result(layer), pattern = layers[index].parameters!.pattern;
      assert.deepEqual(pruned.report, layer.report);
      const { weight, mask } = await edge.solveDirectly(bodies[index], `pattern=${pattern}`);
      assertSame({ weight: pruned.weight, mask: pruned.mask }, { weight, mask }, layer.name);
    }
  });

  it("the layers of a job share statistics, and each failed layer has its own error", async () => {
    const n = 40,
      hessian = file({
        hessian_upper: floats("F32", [n * (n + 1) / 2], packUpper(correlatedHessian(n, { seed: 5 }), n)),
      });
    const shared = await edge.store(hessian);
    const bodies = [3, 4].map((seed) => file({ weight: floats("F32", [16, n], normals(16 * n, seed)) }));
    const wide = file({ weight: floats("F32", [16, n + 1], normals(16 * (n + 1), 6)) });
    const { id } = await edge.jobs.submit([
      { name: "a", weight: await edge.store(bodies[0]), hessian: shared },
      { name: "b", weight: await edge.store(bodies[1]), hessian: shared },
      { name: "c", weight: await edge.store(wide), hessian: shared },
    ]);
    const states = await edge.settledLayers(id);
    assert.deepEqual(states.map(({ state, attempts, error }) => [state, attempts, error?.code]), [
      ["done", 1, undefined],
      ["done", 1, undefined],
      ["failed", 1, "shape_mismatch"],
    ]);
    assert.equal((await edge.jobs.get(id)).state, "failed");
    for (const [index, body] of bodies.entries()) {
      const pruned = await edge.jobs.result(states[index]),
        { weight, mask } = await edge.solveDirectly(body, "sparsity=0.5", hessian);
      assertSame({ weight: pruned.weight, mask: pruned.mask }, { weight, mask });
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
      const answer = await edge.solveDirectly(file(tensors), "sparsity=0.5");
      assertSame({ weight, mask }, { weight: answer.weight, mask: answer.mask });
    }
  });

  it("a job can be read with an ETag and as a stream of events", async () => {
    const weight = await edge.store(layerBody(8, 16, 80));
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
    const weight = await edge.store(layerBody(1100, 1100, 90));
    const { id } = await edge.jobs.submit([{ name: "a", weight }]);
    await until("the layer runs", async () => (await edge.jobs.get(id)).state === "running" || undefined);
    await edge.jobs.cancel(id);
    const [layer] = await edge.settledLayers(id);
    assert.deepEqual([layer.state, layer.error?.code, layer.result], ["cancelled", "cancelled", null]);
    assert.equal((await edge.jobs.get(id)).state, "cancelled");
    await edge.jobs.cancel(id);
    await assert.rejects(
      edge.jobs.get("0".repeat(32)),
      (error) => error instanceof PareError && error.status === 404,
    );
  });

  it("the list of jobs has the current states, newest first", async () => {
    const weight = await edge.store(layerBody(8, 16, 61));
    const body = { name: "listed", layers: [{ name: "a", weight, parameters: { sparsity: 0.25 } }] };
    const { id } = await (await edge.post("/v1/jobs", body)).json();
    await edge.settledLayers(id);
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
    const [layer] = (await edge.jobs.get(id)).layers;
    assert.deepEqual([layer.weight, layer.parameters.sparsity], [weight, 0.25]);
    const hostIds = (await edge.aliveHosts()).map(({ id }) => id);
    assert.ok(hostIds.includes(layer.host!), "the layer names the host that solved it");
  });

  it("a job fails with no_device if no host is alive", async () => {
    await Promise.all(edge.hosts.splice(0).map((host) => host[Symbol.asyncDispose]()));
    assert.deepEqual(await edge.aliveHosts(), []);
    const { id } = await edge.jobs.submit([{ name: "a", weight: await edge.store(layerBody(8, 16, 100)) }]);
    const [{ error }] = await edge.settledLayers(id);
    assert.deepEqual(error, { code: "no_device", detail: "no GPU host was alive for 1 s" });
  });
});
