/**
 * Tests the routes of `/v1/jobs` outside the Workers runtime: API keys, limits, and Workflows that fail to
 * start. `jobs_slow_test.ts` tests them in the real runtime.
 */

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import { edgeDocument } from "../../src/edge/openapi.ts";
import { assertDocumented, type ContractDocument } from "../support/documented_answers.ts";
import type { EdgeBindings } from "../../src/edge/bindings.ts";
import type { DurableObjectState, R2Bucket, Remote } from "../../src/edge/runtime.ts";
import { ObservedJob } from "../../src/edge/jobs/observed_job.ts";
import { JobIndex } from "../../src/edge/jobs/job_index.ts";
import type { JobSummary } from "../../src/protocol/messages.ts";
import { memorySql } from "./memory_sql.ts";

const edge = createEdge();
const document: ContractDocument = JSON.parse(JSON.stringify(edgeDocument(edge)));
const LAYERS = [{ name: "a", weight: "sha256:" + "a".repeat(64) }];

/** Returns the state of a new Durable Object. */
function emptyState(): DurableObjectState {
  return {
    storage: { sql: memorySql(), setAlarm: () => Promise.resolve(), deleteAll: () => Promise.resolve() },
  };
}

/** A bucket that has the blobs with these digests, and answers no other question. */
function bucketOf(...digests: string[]): R2Bucket {
  const keys = digests.map((digest) => digest.replace("sha256:", "blobs/"));
  const customMetadata = { key: "objects/x", size: "1" };
  return {
    head: (key: string) =>
      Promise.resolve(
        keys.includes(key) ? { key, size: 0, uploaded: new Date(), customMetadata } : null,
      ),
  } as R2Bucket;
}

/** Returns the sha-256 of a key in hexadecimal. */
async function hexOf(key: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))).toHex();
}

describe("/v1/jobs", () => {
  let env: EdgeBindings, started: Set<string>, failsToStart: boolean, status: string, restarted: string[];
  beforeEach(async () => {
    const records = new Map<string, ObservedJob>(), indexes = new Map<string, JobIndex>();
    const week = () => 7 * 86_400_000;
    started = new Set();
    failsToStart = false;
    status = "running";
    restarted = [];
    env = {
      PARE_KEYS: `${await hexOf("one")}:jobs,${await hexOf("two")}:jobs,${await hexOf("other")}:uploads`,
      JOB_RECORDS: {
        getByName(name) {
          if (!records.has(name)) records.set(name, new ObservedJob(emptyState(), week));
          return records.get(name) as unknown as Remote<ObservedJob>;
        },
      },
      JOB_INDEXES: {
        getByName(name) {
          if (!indexes.has(name)) indexes.set(name, new JobIndex(memorySql(), Date.now, week));
          return indexes.get(name) as unknown as Remote<JobIndex>;
        },
      },
      BLOBS: bucketOf(LAYERS[0].weight),
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
    };
  });

  async function send(method: string, path: string, key: string, body?: unknown, idempotency?: string) {
    const headers: Record<string, string> = { Authorization: `Bearer ${key}` };
    const text = body === undefined ? undefined : JSON.stringify(body);
    if (text !== undefined) {
      Object.assign(headers, { "Content-Type": "application/json", "Content-Length": String(text.length) });
    }
    if (idempotency !== undefined) headers["Idempotency-Key"] = idempotency;
    const response = await edge.request(path, { method, headers, body: text }, env);
    await assertDocumented(document, { method, path }, response);
    return { status: response.status, answer: response.body ? await response.json() : undefined };
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
    env = { ...env, EDGE_JOB_SILENCE: "0" };
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
    env = { ...env, BLOBS: bucketOf() };
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
      const record = env.JOB_RECORDS!.getByName(b);
      await record.beginAttempt(0);
      const { jobs } = await page("one");
      assert.deepEqual(jobs.map(({ state, layers }) => [state, layers.running, layers.cancelled]), [
        ["running", 1, 0],
        ["cancelled", 0, 1],
      ]);
      assert.ok(jobs[0].ended === null && jobs[1].ended !== null);
      assert.deepEqual(namesOf(await page("one", "?state=cancelled")), ["a"]);
      assert.deepEqual(namesOf(await page("one", "?state=done")), []);
      await record.settleLayer(0, { error: { code: "busy", detail: "" } });
      assert.deepEqual(namesOf(await page("one", "?state=failed")), ["b"]);
    });

    it("leaves out a job whose record was deleted", async () => {
      const [a] = await startJobs("one", "a", "b");
      const { JOB_RECORDS } = env;
      env = {
        ...env,
        JOB_RECORDS: {
          getByName: (name) =>
            name === a ? new ObservedJob(emptyState(), () => 1) as never : JOB_RECORDS!.getByName(name),
        },
      };
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
    env = { EDGE_OPEN: "true" };
    const { status, answer } = await send("POST", "/v1/jobs", "one", { layers: LAYERS });
    assert.deepEqual([status, answer.code], [422, "unsupported"]);
    const hosts = await send("PUT", "/v1/hosts/h", "one", {});
    assert.deepEqual([hosts.status, hosts.answer.code], [422, "unsupported"]);
  });

  it("is refused, and left out of the OpenAPI document, if the deployment lacks one of its bindings", async () => {
    const bound = env;
    const documentedPaths = async () => Object.keys((await send("GET", "/openapi.json", "one")).answer.paths);
    assert.ok((await documentedPaths()).includes("/v1/jobs"));
    for (const binding of ["JOBS", "JOB_RECORDS", "JOB_INDEXES"] as const) {
      env = { ...bound, [binding]: undefined };
      const { status, answer } = await send("POST", "/v1/jobs", "one", { layers: LAYERS });
      assert.deepEqual([status, answer.code], [422, "unsupported"], binding);
      assert.equal(answer.detail, `this edge runs no jobs, because ${binding} is not bound`);
      assert.ok((await documentedPaths()).every((path) => !path.startsWith("/v1/jobs")), binding);
    }
  });
});
