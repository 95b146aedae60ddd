/**
 * Tests runJob(), which solves the layers of a job in the steps of a Workflow. The Workflow engine is
 * simulated. The tests cover concurrent steps, retries, and the continuation of an interrupted run.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { attemptLayer } from "../../src/edge/jobs/attempt.ts";
import { runJob } from "../../src/edge/jobs/run_job.ts";
import { loggedErrors } from "./memory_edge.ts";
import { DONE, problem, simulateJob, simulateSteps } from "./simulate_job.ts";

describe("runJob()", () => {
  it("runs up to 32 layers at once", async () => {
    const { context, record } = simulateJob(Array(40).fill(DONE), 40), { step, seen } = simulateSteps();
    await runJob(step, context);
    assert.equal(record.read()!.job.state, "done");
    assert.deepEqual([seen.runs, seen.max], [40, 32]);
  });

  it("attempts a failing layer five times, and then records an error without addresses, whose cause is in the log", async () => {
    const answers = [...Array(4).fill(problem(503, "device_lost")), problem(502, "blob_unavailable"), DONE];
    const { context, record, sendHeartbeat } = simulateJob(answers), { step } = simulateSteps();
    // The host sends a heartbeat whenever the job waits.
    const logged = await loggedErrors(() =>
      runJob(step, {
        ...context,
        sleep: (milliseconds) => (sendHeartbeat(), context.sleep(milliseconds)),
      })
    );
    const { state, layers: [{ attempts, error }] } = record.read()!.job;
    assert.deepEqual([state, attempts, error?.code], ["failed", 5, "no_device"]);
    assert.equal(
      error?.detail,
      "no GPU host could solve the layer. The log of the edge has the causes under the id of the job",
    );
    assert.equal(logged.length, 6);
    assert.deepEqual(JSON.parse(logged[4]), {
      job: "job",
      layer: 0,
      attempt: 5,
      error: "host http://h/base: 502 blob_unavailable blob_unavailable it is",
    });
  });

  it("continues an interrupted run with the layers that are not settled", async () => {
    const never = Promise.withResolvers<Response>();
    const { context, record, calls } = simulateJob([DONE, () => never.promise, DONE], 2),
      { step } = simulateSteps();
    const interrupted = runJob(step, context);
    while (calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    await runJob(step, context);
    assert.deepEqual(record.read()!.job.layers.map(({ state }) => state), ["done", "done"]);
    assert.deepEqual(record.read()!.job.layers.map(({ attempts }) => attempts).toSorted(), [1, 2]);
    assert.equal(calls.length, 3);
    never.resolve(DONE());
    await interrupted;
    assert.equal(record.read()!.job.state, "done");
  });

  it("asks no host about settled layers when it is restarted from the beginning", async () => {
    const { context, record, calls } = simulateJob([DONE, problem(422, "non_finite"), DONE], 3);
    for (const position of [0, 1]) await attemptLayer(position, context); // the answers are given in this order
    assert.deepEqual(record.read()!.job.layers.map(({ state }) => state), ["done", "failed", "queued"]);
    await runJob(simulateSteps().step, context);
    assert.equal(calls.length, 3);
    assert.deepEqual(record.read()!.job.layers.map(({ state, attempts }) => [state, attempts]), [
      ["done", 1],
      ["failed", 1],
      ["done", 1],
    ]);
  });
});
