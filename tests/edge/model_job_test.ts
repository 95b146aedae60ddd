/** Tests jobs that prune the blocks of a model at one of several simulated hosts (`simulate_model_job.ts`). */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { problem, RESULT, RUNNING } from "./simulate_job.ts";
import { hexOf, memoryEdge } from "./memory_edge.ts";
import { modelRequest, runModelJob } from "./simulate_model_job.ts";

describe("a job of a model", () => {
  it("creates the states once, prunes the blocks in order at one host, and deletes the states", async () => {
    const { done, state, layers, urls } = await runModelJob(modelRequest(3));
    const [host] = done[0];
    // The host has no states when it gets the first block, so the URL is signed again after they are created.
    assert.deepEqual(urls, [0, 1, 2, 3].map((object) => `http://x/${object}`));
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
    const { done, state, layers } = await runModelJob(modelRequest(4), (text) => {
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
    const { done, state } = await runModelJob(modelRequest(2), (text) => {
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
    const { done, state, layers } = await runModelJob(modelRequest(1), (text, { clock }) => {
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
    const { done, state, layers } = await runModelJob(modelRequest(3, [RESULT, RESULT]));
    const tasks = ["create", "run 0", "run 1", "prune 2", "delete"];
    assert.deepEqual(done.map((text) => text.slice(3)), tasks);
    assert.deepEqual([state, layers.map(({ attempts }) => attempts)], ["done", [0, 0, 1]]);
    const { done: nothing, state: ended } = await runModelJob(modelRequest(1, [RESULT]));
    assert.deepEqual([nothing, ended], [[], "done"]);
  });

  it("fails with the first block that is refused, and the blocks after it fail too", async () => {
    const { done, state, layers } = await runModelJob(
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
    const { done, state } = await runModelJob(
      modelRequest(4, [RESULT, RESULT, RESULT]),
      (text, { record }) => {
        if (text.endsWith("run 1")) record.cancel();
        return text.endsWith("run 1") ? RUNNING : undefined;
      },
    );
    assert.equal(state, "cancelled");
    const tasks = ["create", "run 0", "run 1, refused"];
    assert.deepEqual(done.map((text) => text.slice(3)).slice(0, 3), tasks);
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
