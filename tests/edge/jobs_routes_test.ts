/**
 * Tests the routes of `/v1/jobs` outside the Workers runtime: API keys, limits, and Workflows that fail to
 * start. `jobs_test.ts` tests them in the real runtime.
 */

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import type { EdgeBindings } from "../../src/edge/bindings.ts";
import type { DurableObjectState, Remote } from "../../src/edge/runtime/durable_object.ts";
import { ObservedJob } from "../../src/edge/jobs/observed_job.ts";
import { memorySql } from "./memory_sql.ts";

const edge = createEdge();
const LAYERS = [{ name: "a", weight: "sha256:" + "a".repeat(64) }];

/** Returns the sha-256 of a key in hexadecimal. */
async function hexOf(key: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))).toHex();
}

describe("/v1/jobs", () => {
  let env: EdgeBindings, started: Set<string>, failsToStart: boolean, status: string, restarted: string[];
  beforeEach(async () => {
    const records = new Map<string, ObservedJob>();
    started = new Set();
    failsToStart = false;
    status = "running";
    restarted = [];
    const state = (): DurableObjectState => ({
      storage: { sql: memorySql(), setAlarm: () => Promise.resolve(), deleteAll: () => Promise.resolve() },
    });
    env = {
      PARE_KEYS: `${await hexOf("one")}:jobs,${await hexOf("two")}:jobs,${await hexOf("other")}:uploads`,
      JOB_RECORDS: {
        getByName(name) {
          if (!records.has(name)) records.set(name, new ObservedJob(state(), () => 7 * 86_400_000));
          return records.get(name) as unknown as Remote<ObservedJob>;
        },
      },
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
    return { status: response.status, answer: response.body ? await response.json() : undefined };
  }

  it("requires a key with the scope jobs", async () => {
    for (
      const [method, path] of [["POST", "/v1/jobs"], ["GET", `/v1/jobs/${"0".repeat(32)}`], [
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
    assert.equal((await submit()).answer.state, "failed");
    assert.deepEqual(restarted, [id]);
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
});
