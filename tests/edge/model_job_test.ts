/**
 * Tests jobs that prune the blocks of a model, with simulated hosts. A simulated host has hidden states, which are before one
 * block, and refuses tasks about another block as a real host does.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { runJob } from "../../src/edge/jobs/run_job.ts";
import { jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import {
  type Answer,
  problem,
  REPORT,
  RESULT,
  RUNNING,
  simulateJob,
  simulateSteps,
  WEIGHT,
} from "./simulate_job.ts";
import { hexOf, loggedErrors, memoryEdge } from "./memory_edge.ts";

const ORIGINS = ["http://a", "http://b"], NOT_FOUND = problem(404, "states_not_found");

/** A task as the edge sends it. */
interface SentTask {
  readonly states: string;
  readonly windows?: unknown;
  readonly index?: number;
  readonly pruned?: unknown;
  readonly result?: { readonly url: string };
}

/** Returns a job of a model with `count` blocks. `results` are those of the first blocks. */
function modelRequest(count: number, results: readonly string[] = []) {
  const blocks = Array.from({ length: count }, (_, index) => ({
    name: `block ${index}`,
    weight: WEIGHT,
    result: results[index],
  }));
  return jobRequestSchema.parse({ model: { states: WEIGHT, blocks } });
}

/**
 * Runs a job at two hosts until its end, and returns what the hosts have done, such as `a: prune 0`.
 * @param before is called before each task with its text. It may return another answer
 */
async function run(
  request: ReturnType<typeof modelRequest>,
  before: (text: string, job: ReturnType<typeof simulateJob>) => Answer | undefined = () => undefined,
) {
  const job = simulateJob([], request), done: string[] = [], { registry, context, record } = job;
  registry.deregister("h");
  const queue = { waiting: 0, resident: 0 };
  const heartbeat = () => {
    for (const [index, url] of ORIGINS.entries()) {
      const state = { url, backend: "cpu", adapter: "a", capacity: 1, queue, factors: [] };
      registry.recordHeartbeat("ab"[index], state);
    }
  };
  const states = new Map<string, number>(), urls: string[] = [];
  // The edge ignores the report, which only layers have.
  const finished = (name: string) =>
    Response.json({ state: "done", report: REPORT, result: { sha256: name, bytes: 9 } });
  const answer = async ({ origin }: URL, init: RequestInit) => {
    if (init.method === "DELETE") return new Response(null, { status: 204 });
    const task: SentTask = JSON.parse(new TextDecoder().decode(init.body as Uint8Array<ArrayBuffer>));
    const { windows, index, pruned, result } = task, name = "ab"[ORIGINS.indexOf(origin)];
    const what = windows ? "create" : index === undefined ? "delete" : `${pruned ? "run" : "prune"} ${index}`;
    assert.equal(task.states, "job");
    const given = before(`${name}: ${what}`, job);
    if (given) {
      done.push(`${name}: ${what}, refused`);
      return await given();
    }
    if (result) urls.push(result.url);
    if (index !== undefined && states.get(name) !== index) return await NOT_FOUND();
    done.push(`${name}: ${what}`);
    if (what === "delete") states.delete(name);
    else states.set(name, index === undefined ? 0 : index + 1);
    return index !== undefined && !pruned ? finished(RESULT) : Response.json({ state: "done" });
  };
  heartbeat();
  const readUrl = (digest: string) =>
    Promise.resolve([WEIGHT, RESULT].includes(digest) ? "http://x/" : undefined);
  await loggedErrors(() =>
    runJob(simulateSteps().step, {
      ...context,
      blobs: {
        ...context.blobs,
        readUrl,
        writeUrl: () => Promise.resolve({ key: "objects/x", url: `http://x/${urls.length}` }),
      },
      transport: { ...context.transport, fetch: (url, init) => answer(url, init) },
      sleep: (milliseconds) => (heartbeat(), context.sleep(milliseconds)),
    })
  );
  const { state, layers } = record.read()!.job;
  return { done, state, layers, urls };
}

describe("a job of a model", () => {
  it("creates the states once, prunes the blocks in order at one host, and deletes the states", async () => {
    const { done, state, layers, urls } = await run(modelRequest(3));
    const [host] = done[0];
    // The host lacks the states at first, and gets a new URL when it has them.
    assert.deepEqual(urls, ["http://x/0", "http://x/1", "http://x/2", "http://x/3"]);
    assert.deepEqual(
      done,
      ["create", "prune 0", "prune 1", "prune 2", "delete"].map((task) => `${host}: ${task}`),
    );
    assert.equal(state, "done");
    assert.deepEqual(
      layers.map(({ result, report, attempts, host }) => [result, report, attempts, host]),
      layers.map(() => [RESULT, null, 1, host]),
    );
  });

  it("continues at another host if one is lost, and solves no pruned block again", async () => {
    let first = "";
    const { done, state, layers } = await run(modelRequest(4), (text) => {
      first ||= text[0];
      if (text !== `${first}: prune 2`) return undefined;
      return () => Promise.reject(new TypeError("connection reset"));
    });
    const other = first === "a" ? "b" : "a";
    const lines = (host: string, ...tasks: string[]) => tasks.map((task) => `${host}: ${task}`);
    assert.deepEqual(done, [
      ...lines(first, "create", "prune 0", "prune 1", "prune 2, refused"),
      ...lines(other, "create", "run 0", "run 1", "prune 2", "prune 3", "delete"),
    ]);
    assert.equal(state, "done");
    assert.deepEqual(layers.map(({ attempts }) => attempts), [1, 1, 2, 1]);
  });

  it("creates the states again if the host has lost them, and goes to another host after two failures", async () => {
    let failures = 0, first = "";
    const { done, state } = await run(modelRequest(2), (text) => {
      first ||= text[0];
      return text === `${first}: prune 1` && failures++ < 2 ? problem(503, "device_lost") : undefined;
    });
    assert.deepEqual(done.map((text) => text.slice(3)), [
      ...["create", "prune 0", "prune 1, refused", "prune 1, refused"],
      ...["create", "run 0", "prune 1", "delete"],
    ]);
    assert.equal(new Set(done.slice(4).map(([host]) => host)).size, 1);
    assert.notEqual(done[4][0], first);
    assert.equal(state, "done");
  });

  it("waits for a block for 100 minutes", async () => {
    const { done, state, layers } = await run(modelRequest(1), (text, { clock }) => {
      const isRunning = text.includes("prune") && clock.now < 100 * 60_000;
      return isRunning ? RUNNING : undefined;
    });
    assert.deepEqual([state, layers[0].attempts], ["done", 1]);
    assert.deepEqual(done.filter((text) => !text.endsWith("refused")).map((text) => text.slice(3)), [
      "create",
      "prune 0",
      "delete",
    ]);
  });

  it("does not prune blocks whose results the request has", async () => {
    const { done, state, layers } = await run(modelRequest(3, [RESULT, RESULT]));
    assert.deepEqual(done.map((text) => text.slice(3)), ["create", "run 0", "run 1", "prune 2", "delete"]);
    assert.deepEqual([state, layers.map(({ attempts }) => attempts)], ["done", [0, 0, 1]]);
    const { done: nothing, state: ended } = await run(modelRequest(1, [RESULT]));
    assert.deepEqual([nothing, ended], [[], "done"]);
  });

  it("fails with the first block that is refused, and the blocks after it fail too", async () => {
    const { done, state, layers } = await run(
      modelRequest(4),
      (text) => text.endsWith("prune 1") ? problem(422, "shape_mismatch") : undefined,
    );
    assert.deepEqual(done.map((text) => text.slice(3)), ["create", "prune 0", "prune 1, refused", "delete"]);
    assert.equal(state, "failed");
    const after = { code: "shape_mismatch", detail: "a block before this one has failed" };
    assert.deepEqual(layers.map(({ error }) => error), [
      null,
      { code: "shape_mismatch", detail: "shape_mismatch it is" },
      after,
      after,
    ]);
  });

  it("stops when it is cancelled, also between the blocks that restore the states", async () => {
    const { done, state } = await run(modelRequest(4, [RESULT, RESULT, RESULT]), (text, { record }) => {
      if (text.endsWith("run 1")) record.cancel();
      return text.endsWith("run 1") ? RUNNING : undefined;
    });
    assert.equal(state, "cancelled");
    assert.deepEqual(done.map((text) => text.slice(3)).slice(0, 3), ["create", "run 0", "run 1, refused"]);
    assert.ok(!done.some((text) => text.includes("prune")));
  });

  it("is refused if it has layers too, names a block twice, or lacks a blob", async () => {
    const { send, upload } = await memoryEdge();
    const bytes = new TextEncoder().encode("a blob"), weight = `sha256:${await hexOf(bytes)}`;
    await upload(bytes);
    const missing = "sha256:" + "0".repeat(64), block = { name: "a", weight };
    const model = { states: weight, blocks: [block] };
    const cases: readonly (readonly [unknown, number, string])[] = [
      [{ model, layers: [block] }, 400, "invalid_parameter"],
      [{}, 400, "invalid_parameter"],
      [{ model: { ...model, blocks: [] } }, 400, "invalid_parameter"],
      [{ model: { ...model, blocks: [block, block] } }, 400, "invalid_parameter"],
      [{ model: { ...model, target: "sparse" } }, 400, "invalid_parameter"],
      [
        { model: { ...model, blocks: [{ ...block, parameters: { states: "x" } }] } },
        400,
        "invalid_parameter",
      ],
      [{ model: { ...model, blocks: [{ ...block, parameters: { block: 7 } }] } }, 400, "invalid_parameter"],
      [{ model: { ...model, states: missing } }, 404, "not_found"],
      [{ model: { ...model, blocks: [{ ...block, weight: missing }] } }, 404, "not_found"],
      [{ model: { ...model, blocks: [{ ...block, result: missing }] } }, 404, "not_found"],
    ];
    for (const [json, status, code] of cases) {
      const answer = await send("POST", "/v1/jobs", { json });
      assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(json));
    }
    const { status, body: { id, model: described, layers } } = await send("POST", "/v1/jobs", {
      json: { model },
    });
    assert.deepEqual([status, described], [202, { states: weight, target: "none" }]);
    assert.deepEqual(layers[0].parameters, {
      advance: true,
      true_sequential: false,
      reconstruct: 0,
      format: "dense",
    });
    assert.equal((await send("GET", `/v1/jobs/${id}`, { key: "two" })).status, 404);
  });
});
