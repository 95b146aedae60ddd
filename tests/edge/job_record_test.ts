/**
 * Tests the record of a job, which is a list of layers to prune: the changes that it allows, and its version
 * numbers. A layer is settled when it is done or failed.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { JobRecord, type LayerOutcome } from "../../src/edge/jobs/job_record.ts";
import { type JobRequest, jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import { emptyState } from "./memory_edge.ts";

const DIGEST = "sha256:" + "a".repeat(64);
const DONE = { report: { method: "sparsegpt" }, result: DIGEST } as unknown as LayerOutcome;
const FAILED: LayerOutcome = { error: { code: "non_finite", detail: "weight" } };

/** The time of the records' clock, in milliseconds since 1970. */
const NOW = Date.parse("2026-01-01T00:00:00.000Z");

function requestOf(...names: string[]): JobRequest {
  return jobRequestSchema.parse({ layers: names.map((name) => ({ name, weight: DIGEST })) });
}

async function createRecord(...names: string[]): Promise<JobRecord> {
  const record = new JobRecord(emptyState(), () => 1, () => NOW);
  assert.equal(await record.create("id", "digest", requestOf(...names)), "absent");
  return record;
}

/** Returns the state of the job, followed by the states of its layers. */
function statesOf(record: JobRecord): string[] {
  const { job } = record.read()!;
  return [job.state, ...job.layers.map(({ state }) => state)];
}

describe("JobRecord", () => {
  it("stays empty, whatever method is called, if no job was created", () => {
    const record = new JobRecord(emptyState(), () => 1, () => NOW);
    record.settleLayer(0, DONE);
    record.cancel();
    assert.deepEqual([record.read(), record.layerCount(), record.beginAttempt(0), record.isWanted(0)], [
      undefined,
      0,
      undefined,
      false,
    ]);
  });

  it("changes from queued to running to done together with its layers", async () => {
    const record = await createRecord("a", "b");
    assert.deepEqual(statesOf(record), ["queued", "queued", "queued"]);
    const attempt = record.beginAttempt(1)!;
    assert.deepEqual([attempt.layer.name, attempt.number], ["b", 1]);
    assert.deepEqual(statesOf(record), ["running", "queued", "running"]);
    record.settleLayer(1, DONE);
    assert.deepEqual(statesOf(record), ["running", "queued", "done"]);
    assert.equal(record.beginAttempt(0)!.number, 1);
    assert.equal(record.beginAttempt(0)!.number, 2);
    record.settleLayer(0, DONE);
    assert.deepEqual(statesOf(record), ["done", "done", "done"]);
    assert.deepEqual(record.read()!.job.layers.map(({ attempts, result }) => [attempts, result]), [
      [2, DIGEST],
      [1, DIGEST],
    ]);
  });

  it("fails if any layer fails, and never changes a settled layer", async () => {
    const record = await createRecord("a", "b");
    record.beginAttempt(0);
    record.settleLayer(0, FAILED);
    assert.equal(record.beginAttempt(0), undefined);
    record.settleLayer(0, DONE);
    record.settleLayer(1, DONE);
    assert.deepEqual(statesOf(record), ["failed", "failed", "done"]);
    assert.deepEqual(record.read()!.job.layers[0].error, { code: "non_finite", detail: "weight" });
  });

  it("cancels the layers that are not settled", async () => {
    const record = await createRecord("a", "b", "c");
    record.settleLayer(0, DONE);
    record.beginAttempt(1);
    assert.ok(record.isWanted(1));
    record.cancel();
    assert.ok(!record.isWanted(1));
    assert.deepEqual(statesOf(record), ["cancelled", "done", "cancelled", "cancelled"]);
    assert.equal(record.read()!.job.layers[1].error?.code, "cancelled");
    const { version } = record.read()!;
    record.cancel();
    assert.equal(record.read()!.version, version);
  });

  it("is cancelled even if a layer had failed before, and stays as it is if it is cancelled after its end", async () => {
    const record = await createRecord("a", "b");
    record.settleLayer(0, FAILED);
    record.cancel();
    assert.deepEqual(statesOf(record), ["cancelled", "failed", "cancelled"]);
    const ended = await createRecord("a");
    ended.settleLayer(0, DONE);
    ended.cancel();
    assert.deepEqual(statesOf(ended), ["done", "done"]);
  });

  it("records the host of the latest attempt, once per change", async () => {
    const record = await createRecord("a");
    record.beginAttempt(0);
    record.assignHost(0, "h1");
    const { version, job } = record.read()!;
    assert.equal(job.layers[0].host, "h1");
    record.assignHost(0, "h1");
    assert.equal(record.read()!.version, version);
    record.settleLayer(0, DONE);
    record.assignHost(0, "h2");
    assert.equal(record.read()!.job.layers[0].host, "h1", "a settled layer does not change");
  });

  it("returns only the layers that have changed after a given version", async () => {
    const record = await createRecord("a", "b", "c"), { version } = record.read()!;
    assert.deepEqual(record.changesAfter(version)!.job.layers, []);
    record.beginAttempt(2);
    const changes = record.changesAfter(version)!;
    assert.ok(changes.version > version);
    assert.deepEqual(changes.job.layers.map(({ name }) => name), ["c"]);
    assert.deepEqual(record.changesAfter(changes.version)!.job.layers, []);
  });
});
