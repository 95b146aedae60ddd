/**
 * Tests the routes of `/v1/jobs` outside the Workers runtime: API keys, limits, and Workflows that fail to
 * start. `jobs_slow_test.ts` tests them in the real runtime.
 */

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "@std/testing/bdd";
import { JobRecord } from "../../src/edge/jobs/job_record.ts";
import type { JobSummary } from "../../src/protocol/messages.ts";
import { MemoryBucket } from "./memory_bucket.ts";
import { emptyState, hexOf, memoryEdge } from "./memory_edge.ts";

const WEIGHT = new TextEncoder().encode("weight");
const LAYERS = [{ name: "a", weight: `sha256:${await hexOf(WEIGHT)}` }];

describe("/v1/jobs", () => {
  let edge: Awaited<ReturnType<typeof memoryEdge>>;
  let started: Set<string>, failsToStart: boolean, status: string, restarted: string[];
  beforeEach(async () => {
    started = new Set();
    failsToStart = false;
    status = "running";
    restarted = [];
    edge = await memoryEdge({
      PARE_KEYS: `${await hexOf("one")}:jobs+uploads,${await hexOf("two")}:jobs,${await hexOf(
        "other",
      )}:uploads`,
      JOBS: {
        create({ id }) {
          if (failsToStart) return Promise.reject(new Error("not now"));
          started.add(id);
          return Promise.resolve({ id });
        },
        get: (id) =>
          started.has(id)
            ? Promise.resolve({
              id,
              status: () => Promise.resolve({ status }),
              restart: () => Promise.resolve(void restarted.push(id)),
            })
            : Promise.reject(new Error("no instance")),
      },
    });
    await edge.upload(WEIGHT);
  });

  async function send(method: string, path: string, key: string, json?: unknown, idempotency?: string) {
    const headers: Record<string, string> = idempotency === undefined
      ? {}
      : { "Idempotency-Key": idempotency };
    const { status, body: answer } = await edge.send(method, path, { json, key, headers });
    return { status, answer };
  }

  it("requires a key with the scope jobs", async () => {
    for (
      const [method, path] of [["POST", "/v1/jobs"], ["GET", "/v1/jobs"], [
        "GET",
        `/v1/jobs/${"0".repeat(32)}`,
      ], [
        "DELETE",
        `/v1/jobs/${"0".repeat(32)}`,
      ]]
    ) {
      const body = method === "POST" ? { layers: LAYERS } : undefined;
      assert.equal((await send(method, path, "nobody", body)).status, 401);
      assert.equal((await send(method, path, "other", body)).status, 403);
    }
  });

  it("creates separate jobs if different clients use the same idempotency key", async () => {
    const first = await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    const same = await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    const others = await send("POST", "/v1/jobs", "two", { layers: [{ ...LAYERS[0], name: "b" }] }, "k");
    assert.deepEqual([first.status, same.status, others.status], [202, 202, 202]);
    assert.equal(same.answer.id, first.answer.id);
    assert.notEqual(others.answer.id, first.answer.id);
    assert.deepEqual([...started], [first.answer.id, others.answer.id]);
  });

  it("starts the Workflow at the next request if it could not start at the first one", async () => {
    failsToStart = true;
    const failed = await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    assert.equal(failed.status, 500);
    failsToStart = false;
    const { status, answer } = await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    assert.deepEqual([status, [...started]], [202, [answer.id]]);
  });

  it("restarts a job that is submitted again and has made no progress", async () => {
    const submit = () => send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    const { answer: { id } } = await submit();
    await submit();
    assert.deepEqual(restarted, []);
    Object.assign(edge.env, { EDGE_JOB_SILENCE: "0" });
    const waitWithoutProgress = () => new Promise((resolve) => setTimeout(resolve, 5));
    await waitWithoutProgress();
    status = "queued";
    await submit();
    assert.deepEqual(restarted, []);
    status = "running";
    await submit();
    assert.deepEqual(restarted, [id]);
    await send("DELETE", `/v1/jobs/${id}`, "one");
    await waitWithoutProgress();
    assert.equal((await submit()).answer.state, "cancelled");
    assert.deepEqual(restarted, [id]);
  });

  it("refuses a job whose blob is not stored, but finds an existing job whose blob has expired", async () => {
    const missing = "sha256:" + "b".repeat(64);
    const layers = [...LAYERS, { name: "b", weight: LAYERS[0].weight, hessian: missing }];
    const { status, answer } = await send("POST", "/v1/jobs", "one", { layers });
    assert.deepEqual([status, answer.code, answer.blob], [404, "not_found", missing]);
    assert.equal(answer.detail, `layer b: blob ${missing} is not stored`);
    assert.deepEqual((await send("GET", "/v1/jobs", "one")).answer.jobs, []);
    const first = await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    Object.assign(edge.env, { BLOBS: new MemoryBucket() });
    const again = await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    assert.deepEqual([again.status, again.answer.id], [202, first.answer.id]);
  });

  it("distinguishes jobs with one idempotency key by their names too", async () => {
    await send("POST", "/v1/jobs", "one", { layers: LAYERS }, "k");
    const named = await send("POST", "/v1/jobs", "one", { name: "n", layers: LAYERS }, "k");
    assert.deepEqual([named.status, named.answer.code], [409, "idempotency_conflict"]);
  });

  describe("the list", () => {
    const page = async (key: string, query = "") => {
      const { status, answer } = await send("GET", `/v1/jobs${query}`, key);
      assert.equal(status, 200, JSON.stringify(answer));
      return answer as { jobs: JobSummary[]; cursor: string | null };
    };
    /** Starts jobs with these names, one after the other. Returns their ids. */
    async function startJobs(key: string, ...names: string[]): Promise<string[]> {
      const ids = [];
      for (const name of names) {
        ids.push((await send("POST", "/v1/jobs", key, { name, layers: LAYERS })).answer.id);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      return ids;
    }
    const namesOf = ({ jobs }: { jobs: JobSummary[] }) => jobs.map(({ name }) => name);

    it("has the jobs of the key only, newest first, page by page", async () => {
      await startJobs("one", "a", "b", "c");
      await startJobs("two", "other");
      assert.deepEqual(namesOf(await page("two")), ["other"]);
      const first = await page("one", "?limit=2");
      assert.deepEqual(namesOf(first), ["c", "b"]);
      await startJobs("one", "d");
      const second = await page("one", `?limit=2&cursor=${first.cursor}`);
      assert.deepEqual([namesOf(second), second.cursor], [["a"], null]);
      assert.deepEqual(namesOf(await page("one")), ["d", "c", "b", "a"]);
    });

    it("has the current states, and selects by state", async () => {
      const [a, b] = await startJobs("one", "a", "b");
      await send("DELETE", `/v1/jobs/${a}`, "one");
      const record = edge.records.names.get(b)!;
      record.beginAttempt(0);
      const { jobs } = await page("one");
      assert.deepEqual(jobs.map(({ state, layers }) => [state, layers.running, layers.cancelled]), [
        ["running", 1, 0],
        ["cancelled", 0, 1],
      ]);
      assert.ok(jobs[0].ended === null && jobs[1].ended !== null);
      assert.deepEqual(namesOf(await page("one", "?state=cancelled")), ["a"]);
      assert.deepEqual(namesOf(await page("one", "?state=done")), []);
      record.settleLayer(0, { error: { code: "busy", detail: "" } });
      assert.deepEqual(namesOf(await page("one", "?state=failed")), ["b"]);
    });

    it("leaves out a job whose record was deleted", async () => {
      const [a] = await startJobs("one", "a", "b");
      edge.records.names.set(a, new JobRecord(emptyState(), () => 1));
      assert.deepEqual(namesOf(await page("one")), ["b"]);
    });

    it("refuses invalid and unknown parameters", async () => {
      for (const query of ["?state=lost", "?limit=0", "?limit=101", "?limit=x", "?cursor=1", "?page=2"]) {
        const { status, answer } = await send("GET", `/v1/jobs${query}`, "one");
        const parameter = /\w+/.exec(query)![0];
        assert.deepEqual([status, answer.errors?.[0].parameter], [400, parameter], query);
      }
    });
  });

  it("refuses an invalid job", async () => {
    const [layer] = LAYERS;
    const bodies = [
      {},
      { layers: [] },
      { layers: [layer, layer] },
      { layers: [{ name: "a", weight: "abc" }] },
      { layers: [{ ...layer, parameters: { sparsity: 1 } }] },
      { layers: [{ ...layer, parameters: { hessian: layer.weight } }] },
    ];
    for (const body of bodies) {
      const { status, answer } = await send("POST", "/v1/jobs", "one", body);
      assert.deepEqual([status, answer.code], [400, "invalid_parameter"], JSON.stringify(body));
    }
  });

  it("refuses a job over the limits", async () => {
    const many = Array.from({ length: 4097 }, (_, index) => ({ ...LAYERS[0], name: String(index) }));
    assert.equal((await send("POST", "/v1/jobs", "one", { layers: many })).answer.code, "invalid_parameter");
    const large = [{ ...LAYERS[0], name: "x".repeat(9 * 2 ** 20) }];
    const { status, answer } = await send("POST", "/v1/jobs", "one", { layers: large });
    assert.deepEqual([status, answer.code, answer.limit], [413, "too_large", 8 * 2 ** 20]);
  });

  it("answers with the code unsupported if the deployment has no bindings for jobs and hosts", async () => {
    const bindings = ["PARE_KEYS", "BLOBS", "JOBS", "JOB_RECORDS", "JOB_INDEXES", "HOSTS"];
    const unbound = Object.fromEntries(bindings.map((name) => [name, undefined]));
    Object.assign(edge.env, { ...unbound, EDGE_OPEN: "true" });
    const { status, answer } = await send("POST", "/v1/jobs", "one", { layers: LAYERS });
    assert.deepEqual([status, answer.code], [422, "unsupported"]);
    const hosts = await send("PUT", "/v1/hosts/h", "one", {});
    assert.deepEqual([hosts.status, hosts.answer.code], [422, "unsupported"]);
  });

  it("is refused, and left out of the OpenAPI document, if the deployment lacks one of its bindings", async () => {
    const bound = { ...edge.env };
    const documentedPaths = async () => Object.keys((await send("GET", "/openapi.json", "one")).answer.paths);
    assert.ok((await documentedPaths()).includes("/v1/jobs"));
    for (const binding of ["JOBS", "JOB_RECORDS", "JOB_INDEXES"] as const) {
      Object.assign(edge.env, bound, { [binding]: undefined });
      const { status, answer } = await send("POST", "/v1/jobs", "one", { layers: LAYERS });
      assert.deepEqual([status, answer.code], [422, "unsupported"], binding);
      assert.equal(answer.detail, `this edge runs no jobs, because ${binding} is not bound`);
      assert.ok((await documentedPaths()).every((path) => !path.startsWith("/v1/jobs")), binding);
    }
  });
});
