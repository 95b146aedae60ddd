/** A job's record: which changes it allows, and how it numbers them. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { JobRecord, type LayerOutcome } from "../../src/edge/jobs/record.ts";
import { type JobLayer, jobRequestSchema } from "../../src/protocol/jobs.ts";
import { memorySql } from "./memory_sql.ts";

const DIGEST = "sha256:" + "a".repeat(64);
const DONE = { report: { method: "sparsegpt" }, result: DIGEST } as unknown as LayerOutcome;
const FAILED: LayerOutcome = { error: { code: "non_finite", detail: "weight" } };

function layersOf(...names: string[]): JobLayer[] {
  return jobRequestSchema.parse({ layers: names.map((name) => ({ name, weight: DIGEST })) }).layers;
}

function findJob(...names: string[]): JobRecord {
  const record = new JobRecord(memorySql());
  assert.equal(record.create("id", "digest", layersOf(...names)), "created");
  return record;
}

const statesOf = (record: JobRecord) => {
  const { job } = record.read()!;
  return [job.state, ...job.layers.map(({ state }) => state)];
};

describe("the record of a job", () => {
  it("is made once", () => {
    const record = findJob("a");
    assert.equal(record.create("id", "digest", layersOf("a")), "same");
    assert.equal(record.create("id", "other", layersOf("b")), "conflict");
    assert.equal(record.size(), 1);
  });

  it("is empty where no job was made", () => {
    const record = new JobRecord(memorySql());
    record.settle(0, DONE);
    record.cancel();
    assert.deepEqual([record.read(), record.size(), record.begin(0), record.isWanted(0)], [
      undefined,
      0,
      undefined,
      false,
    ]);
  });

  it("goes from queued over running to done with its layers", () => {
    const record = findJob("a", "b");
    assert.deepEqual(statesOf(record), ["queued", "queued", "queued"]);
    const attempt = record.begin(1)!;
    assert.deepEqual([attempt.layer.name, attempt.number], ["b", 1]);
    assert.deepEqual(statesOf(record), ["running", "queued", "running"]);
    record.settle(1, DONE);
    assert.deepEqual(statesOf(record), ["running", "queued", "done"]);
    assert.equal(record.begin(0)!.number, 1);
    assert.equal(record.begin(0)!.number, 2);
    record.settle(0, DONE);
    assert.deepEqual(statesOf(record), ["done", "done", "done"]);
    assert.deepEqual(record.read()!.job.layers.map(({ attempts, result }) => [attempts, result]), [
      [2, DIGEST],
      [1, DIGEST],
    ]);
  });

  it("fails with any layer, and keeps what is settled as it is", () => {
    const record = findJob("a", "b");
    record.begin(0);
    record.settle(0, FAILED);
    assert.equal(record.begin(0), undefined);
    record.settle(0, DONE);
    record.settle(1, DONE);
    assert.deepEqual(statesOf(record), ["failed", "failed", "done"]);
    assert.deepEqual(record.read()!.job.layers[0].error, { code: "non_finite", detail: "weight" });
  });

  it("cancels what is not settled", () => {
    const record = findJob("a", "b", "c");
    record.settle(0, DONE);
    record.begin(1);
    assert.ok(record.isWanted(1));
    record.cancel();
    assert.ok(!record.isWanted(1));
    assert.deepEqual(statesOf(record), ["failed", "done", "failed", "failed"]);
    const { version } = record.read()!;
    record.cancel();
    assert.equal(record.read()!.version, version);
  });

  it("tells what changed since", () => {
    const record = findJob("a", "b", "c"), { version } = record.read()!;
    assert.deepEqual(record.changes(version)!.job.layers, []);
    record.begin(2);
    const changes = record.changes(version)!;
    assert.ok(changes.version > version);
    assert.deepEqual(changes.job.layers.map(({ name }) => name), ["c"]);
    assert.deepEqual(record.changes(changes.version)!.job.layers, []);
  });
});
