/**
 * Tests that everything at the edge (Pare's Cloudflare Worker) expires when it should: blobs, uploads, the
 * records and lists of jobs. Garbage collection must also survive objects that it cannot read.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { collectGarbage } from "../../src/edge/collect_garbage.ts";
import { JobIndex } from "../../src/edge/jobs/job_index.ts";
import { JobRecord } from "../../src/edge/jobs/job_record.ts";
import { jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import type { JobSummary } from "../../src/protocol/messages.ts";
import { emptyState, hexOf, memoryEdge } from "./memory_edge.ts";
import { memorySql } from "./memory_sql.ts";

const DAY = 86_400_000, WEEK = 7 * DAY;
const BYTES = new TextEncoder().encode("the bytes");

describe("garbage collection", () => {
  it("deletes an upload after a day and a blob with its bytes after a week", async () => {
    const { env, bucket, send, upload } = await memoryEdge(), start = bucket.now;
    await upload(BYTES);
    await send("POST", "/v1/uploads", { json: { size: 5, sha256: "0".repeat(64) } });
    assert.deepEqual(await collectGarbage(env, start + DAY - 1), { blobs: 0, uploads: 0, objects: 0 });
    assert.deepEqual(await collectGarbage(env, start + DAY + 1), { blobs: 0, uploads: 2, objects: 0 });
    assert.deepEqual(await collectGarbage(env, start + WEEK), { blobs: 0, uploads: 0, objects: 0 });
    assert.deepEqual(await collectGarbage(env, start + WEEK + 1), { blobs: 1, uploads: 0, objects: 0 });
    assert.deepEqual([...bucket.objects.keys()], []);
  });

  it("deletes bytes without a name two days later than blobs", async () => {
    const { env, bucket } = await memoryEdge(), start = bucket.now;
    await bucket.put("objects/lost", "x");
    assert.equal((await collectGarbage(env, start + WEEK + 2 * DAY)).objects, 0);
    assert.equal((await collectGarbage(env, start + WEEK + 2 * DAY + 1)).objects, 1);
  });

  it("continues after records and names that it cannot read, and deletes them too", async () => {
    const { env, bucket, upload } = await memoryEdge(), start = bucket.now;
    for (const text of ["", "{", "null", '{"digest":1}']) await bucket.put(`uploads/${text.length}`, text);
    await bucket.put("blobs/broken", "");
    await bucket.put("blobs/half", "", { customMetadata: { key: "objects/half" } });
    await upload(BYTES);
    const { blobs, uploads } = await collectGarbage(env, start + 10 * DAY);
    assert.deepEqual([blobs, uploads], [3, 5]);
    assert.deepEqual([...bucket.objects.keys()], []);
  });

  it("keeps a blob that is uploaded again while expired blobs are listed", async () => {
    const { env, bucket, send, upload } = await memoryEdge(), digest = `sha256:${await hexOf(BYTES)}`;
    bucket.now -= 8 * DAY;
    await upload(BYTES);
    bucket.now += 8 * DAY;
    let isUploaded = false;
    bucket.before = async (call) => {
      // The listing has been answered when the next operation begins.
      if (isUploaded || !bucket.calls.includes("list blobs/") || call === "list blobs/") return;
      isUploaded = true;
      assert.equal((await upload(BYTES)).status, 200);
    };
    await collectGarbage(env, bucket.now);
    assert.ok(isUploaded);
    assert.equal((await send("GET", `/v1/blobs/${digest}`)).body, "the bytes");
  });
});

describe("the list of a client's jobs", () => {
  it("finds a job until its lifetime is over", () => {
    let now = WEEK;
    const index = new JobIndex(memorySql(), () => now, () => DAY), id = "a".repeat(32);
    const layers = { queued: 0, running: 0, done: 1, failed: 0, cancelled: 0 };
    const created = new Date(now).toISOString();
    const summary: JobSummary = { id, name: null, state: "done", created, ended: created, layers };
    index.put([summary]);
    now += DAY;
    assert.deepEqual([index.has(id), index.has("b".repeat(32))], [true, false]);
    now += 1;
    assert.equal(index.has(id), false);
    assert.deepEqual(index.page({ limit: 20 }).jobs, []);
  });
});

describe("the record of a job", () => {
  it("is deleted at the end of its lifetime, also while its Workflow and readers still use it", async () => {
    const state = emptyState(), alarms: number[] = [];
    const storage = {
      ...state.storage,
      setAlarm: (time: number) => Promise.resolve(void alarms.push(time)),
      deleteAll() {
        for (const table of ["job", "layers"]) state.storage.sql.exec(`DROP TABLE ${table}`);
        return Promise.resolve();
      },
    };
    const record = new JobRecord({ storage }, () => WEEK), before = Date.now();
    await record.create(
      "id",
      "digest",
      jobRequestSchema.parse({ layers: [{ name: "a", weight: "sha256:" + "0".repeat(64) }] }),
    );
    assert.ok(alarms.length === 1 && alarms[0] >= before + WEEK && alarms[0] <= Date.now() + WEEK);
    const { number } = record.beginAttempt(0)!, { version } = record.read()!;
    const waiting = record.waitForChanges(version, 10);
    await record.alarm();
    assert.equal(await waiting, undefined);
    assert.deepEqual([number, record.isWanted(0), record.layerCount(), record.read()], [
      1,
      false,
      0,
      undefined,
    ]);
    record.settleLayer(0, { error: { code: "no_device", detail: "" } });
    assert.equal(record.read(), undefined);
  });
});
