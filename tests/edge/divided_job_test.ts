/** Tests jobs of a model whose windows are divided over simulated hosts (`simulate_model_job.ts`). */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { problem, RESULT, RUNNING } from "./simulate_job.ts";
import { modelRequest, runModelJob } from "./simulate_model_job.ts";

/** Returns what the hosts have done for the block with the index `block`, without the hosts, in alphabetical order. */
function tasksOf(done: readonly string[], block: number): string[] {
  return done.map((text) => text.slice(3)).filter((text) => text.split(" ")[1] === String(block)).toSorted();
}

describe("a job of a model that several hosts share", () => {
  it("adds the statistics in the order of the shares, and each host solves a share of the layers", async () => {
    const { done, state, layers, urls, removed, shares } = await runModelJob(modelRequest(2), undefined, {
      shares: 2,
    });
    assert.equal(state, "done");
    assert.equal(new Set(shares.map(({ host }) => host)).size, 2);
    const [one, two] = shares.map(({ host }) => host);
    // The two hosts create and sum their shares at the same time.
    assert.deepEqual(
      done.slice(0, 4).toSorted(),
      [
        ...[`${one}: create of job.0.2`, `${one}: sum 0 of job.0.2`],
        ...[`${two}: create of job.1.2`, `${two}: sum 0 of job.1.2`],
      ].toSorted(),
    );
    assert.deepEqual(done.slice(4, 6), [`${one}: add 0 of job.0.2`, `${two}: add 0 of job.1.2`]);
    assert.deepEqual(tasksOf(done, 0), [
      ...["add 0 of job.0.2", "add 0 of job.1.2", "join 0 of job.1.2", "run 0 of job.0.2"],
      ...["solve 0 of job.0.2", "solve 0 of job.1.2", "sum 0 of job.0.2", "sum 0 of job.1.2"],
    ]);
    // The states of the last share have run through the block when it was joined.
    assert.deepEqual(tasksOf(done, 1), [
      ...["add 1 of job.0.2", "add 1 of job.1.2", "join 1 of job.1.2"],
      ...["solve 1 of job.0.2", "solve 1 of job.1.2", "sum 1 of job.0.2", "sum 1 of job.1.2"],
    ]);
    assert.deepEqual(done.slice(-2), [`${one}: delete of job.0.2`, `${two}: delete of job.1.2`]);
    assert.deepEqual(layers.map(({ result, attempts, host }) => [result, attempts, host]), [
      [RESULT, 1, two],
      [RESULT, 1, two],
    ]);
    // All objects but the results are removed.
    const results = [4, 9].map((object) => `http://x/${object}`);
    assert.deepEqual(urls.filter((url) => !removed.includes(url.replace("http://", ""))), results);
  });

  for (const task of ["sum 1", "add 1", "solve 1", "join 1"]) {
    it(`gives the share of a host that is lost at the task ${task} to another one, and no other is repeated`, async () => {
      let lost = "";
      const { done, state, layers, shares } = await runModelJob(modelRequest(3), (text) => {
        if (text.includes(`${task} of job.1.2`)) lost ||= text[0];
        if (text[0] !== lost) return undefined;
        return () => Promise.reject(new TypeError("connection reset"));
      }, { count: 3, shares: 2 });
      assert.equal(state, "done");
      assert.deepEqual(layers.map(({ attempts }) => attempts), [1, 2, 1]);
      assert.ok(lost !== "" && shares.every(({ host }) => host !== lost));
      const ended = done.filter((text) => !text.endsWith("refused"));
      const count = (what: string) => ended.filter((text) => text.slice(3) === what).length;
      // The new host creates the states, and runs them through the block before.
      assert.deepEqual([count("create of job.1.2"), count("create of job.0.2")], [2, 1]);
      assert.equal(count("run 0 of job.1.2"), 1);
      assert.equal(count("sum 1 of job.0.2"), 1);
    });
  }

  it("continues with both shares at one host if the other one does not come back", async () => {
    let lost = "";
    const { state, shares } = await runModelJob(modelRequest(2), (text) => {
      if (text.includes("solve 0")) lost ||= text[0];
      return text[0] === lost ? () => Promise.reject(new TypeError("connection reset")) : undefined;
    }, { shares: 2 });
    assert.equal(state, "done");
    assert.equal(new Set(shares.map(({ host }) => host)).size, 1);
  });

  it("gives the share of a host that is busy for too long to another one", async () => {
    let busy = "";
    const { state, layers, shares } = await runModelJob(modelRequest(1), (text) => {
      if (text.includes("sum 0 of job.1.2")) busy ||= text[0];
      return text[0] === busy ? problem(503, "busy") : undefined;
    }, { shares: 2 });
    assert.deepEqual([state, layers[0].attempts], ["done", 2]);
    assert.ok(busy !== "" && shares.every(({ host }) => host !== busy));
  });

  it("begins at another host if the first one cannot create the states", async () => {
    let broken = "";
    const { state, shares } = await runModelJob(modelRequest(1), (text) => {
      broken ||= text[0];
      return text[0] === broken ? problem(503, "device_lost") : undefined;
    }, { shares: 2 });
    assert.equal(state, "done");
    assert.deepEqual([shares.length, shares.some(({ host }) => host === broken)], [2, false]);
  });

  it("is divided over hosts of the most frequent device, whatever the number of their threads", async () => {
    for (const failing of ["", "b"]) {
      const { done, state, shares } = await runModelJob(
        modelRequest(2),
        (text) => text[0] === failing ? problem(503, "device_lost") : undefined,
        { count: 4, shares: 2, adapterOf: (name) => name === "a" ? "GPU, 1 thread" : `CPU, ${name} threads` },
      );
      assert.deepEqual([state, done.filter((text) => text[0] === "a")], ["done", []]);
      assert.deepEqual(shares.map(({ device }) => device), ["cpu (CPU)", "cpu (CPU)"]);
    }
  });

  it("fails if the only other host has another device", async () => {
    let isLost = false;
    const { done, state, layers } = await runModelJob(modelRequest(2), (text) => {
      isLost ||= text === "b: solve 0 of job.1.2" || text === "a: solve 0 of job.1.2";
      return isLost ? () => Promise.reject(new TypeError("connection reset")) : undefined;
    }, { shares: 2, adapterOf: () => isLost ? "GPU, 1 thread" : "CPU, 1 thread" });
    assert.equal(state, "failed");
    assert.ok(done.every((text) => !text.includes("join")));
    assert.deepEqual(layers[0].error, {
      code: "no_device",
      detail:
        "no GPU host was alive for 5 s with the device cpu (CPU), because the job began on it, and another " +
        "device rounds differently",
    });
  });

  it("is not divided if only one share has windows, and then has states of another name", async () => {
    const { done, state, shares } = await runModelJob(modelRequest(1), undefined, { shares: 1 });
    const created = ["create of job.0.2", "delete of job.0.2", "create", "prune 0", "delete"];
    assert.deepEqual([state, done.map((text) => text.slice(3)), shares], ["done", created, []]);
  });

  it("fails with the problem of a task that is refused", async () => {
    const { state, layers } = await runModelJob(
      modelRequest(2),
      (text) => text.includes("solve 0") ? problem(422, "not_positive_definite") : undefined,
      { shares: 2 },
    );
    assert.equal(state, "failed");
    assert.deepEqual(layers.map(({ error }) => error?.code), Array(2).fill("not_positive_definite"));
  });

  it("stops when it is cancelled", async () => {
    const { done, state, removed } = await runModelJob(modelRequest(2), (text, { record }) => {
      if (!text.includes("add 0 of job.1.2")) return undefined;
      record.cancel();
      return RUNNING;
    }, { shares: 2 });
    assert.equal(state, "cancelled");
    assert.ok(!done.some((text) => text.includes("solve")));
    assert.deepEqual(removed, ["x/0", "x/1"]);
  });

  it("adds up statistics and solves layers in each round of a true-sequential block", async () => {
    const request = modelRequest(1, [], { true_sequential: true });
    const { done, state, sources } = await runModelJob(request, undefined, { shares: 2, rounds: 2 });
    assert.equal(state, "done");
    const round = ["add 0 of job.0.2", "add 0 of job.1.2", "solve 0 of job.0.2", "solve 0 of job.1.2"];
    const sums = ["sum 0 of job.0.2", "sum 0 of job.1.2"];
    assert.deepEqual(
      tasksOf(done, 0),
      [...round, ...round, ...sums, ...sums, "join 0 of job.1.2"].toSorted(),
    );
    // The second round has the layers of the first one, and the result has those of both.
    assert.deepEqual(sources, { sum: [0, 0, 2, 2], add: [0, 0, 2, 2], join: [4] });
  });

  it("is not divided if its blocks are trained", async () => {
    const request = modelRequest(1, [], { reconstruct: 1 });
    const { done, shares } = await runModelJob(request, undefined, { shares: 2 });
    assert.deepEqual([done.map((text) => text.slice(3)), shares], [["create", "prune 0", "delete"], []]);
  });
});
