/** A job's run, over steps that are played here: how many at once, what a retry costs, and how a run that was broken off goes on. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { runJob } from "../../src/edge/jobs/run_job.ts";
import type { WorkflowStep } from "../../src/edge/jobs/workflow_types.ts";
import { DONE, problem, world } from "./job_world.ts";

/** Steps as the engine runs them: again up to the limit, and never again once they have ended. */
function steps() {
  const ended = new Set<string>(), seen = { now: 0, most: 0, runs: 0 };
  const step: WorkflowStep = {
    async do(name, { retries }, run) {
      if (ended.has(name)) return;
      for (let attempt = 0;; attempt++) {
        seen.runs++;
        seen.most = Math.max(seen.most, ++seen.now);
        try {
          await run();
          ended.add(name);
          return;
        } catch (error) {
          if (attempt === retries.limit) throw error;
        } finally {
          seen.now--;
        }
      }
    },
  };
  return { step, seen };
}

describe("a job's run", () => {
  it("has many layers under way, but not all", async () => {
    const { tools, record } = world(Array(40).fill(DONE), 40), { step, seen } = steps();
    await runJob(step, tools);
    assert.equal(record.read()!.job.state, "done");
    assert.deepEqual([seen.runs, seen.most], [40, 32]);
  });

  it("tries a layer five times, and then tells the last reason", async () => {
    const answers = [...Array(4).fill(problem(503, "device_lost")), problem(502, "blob_unavailable"), DONE];
    const { tools, record, beat } = world(answers), { step } = steps();
    // The host tells of itself whenever someone waits for it.
    await runJob(step, { ...tools, sleep: (milliseconds) => (beat(), tools.sleep(milliseconds)) });
    const { state, layers: [{ attempts, error }] } = record.read()!.job;
    assert.deepEqual([state, attempts, error?.code], ["failed", 5, "no_device"]);
    assert.equal(error?.detail, "host http://h/base: 502 blob_unavailable blob_unavailable it is");
  });

  it("goes on where it was broken off", async () => {
    const never = Promise.withResolvers<Response>();
    const { tools, record, calls } = world([DONE, () => never.promise, DONE], 2), { step } = steps();
    const broken = runJob(step, tools);
    while (calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    await runJob(step, tools);
    assert.deepEqual(record.read()!.job.layers.map(({ state }) => state), ["done", "done"]);
    assert.deepEqual(record.read()!.job.layers.map(({ attempts }) => attempts).toSorted(), [1, 2]);
    assert.equal(calls.length, 3);
    never.resolve(DONE());
    await broken;
    assert.equal(record.read()!.job.state, "done");
  });
});
