/**
 * Tests the jobs of the edge (Pare's Cloudflare Worker) outside the Workers runtime, against clients that
 * guess ids, name unknown blobs, or send odd names.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { JobRecord } from "../../src/edge/jobs/job_record.ts";
import { jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import { emptyState, hexOf, memoryEdge } from "./memory_edge.ts";

const DAY = 86_400_000;

/** Returns an edge with one stored blob, and the layers of a job that uses this blob. */
async function edgeWithBlob() {
  const edge = await memoryEdge(), bytes = new TextEncoder().encode("weight");
  assert.equal((await edge.upload(bytes)).status, 200);
  return { ...edge, layers: [{ name: "a", weight: `sha256:${await hexOf(bytes)}` }] };
}

describe("a job at the edge", () => {
  it("belongs to the key that started it: other keys find no job, and change nothing", async () => {
    const { send, layers } = await edgeWithBlob();
    const { body: { id } } = await send("POST", "/v1/jobs", { json: { layers } }), path = `/v1/jobs/${id}`;
    const events = { Accept: "text/event-stream" };
    for (
      const { status, body } of [
        await send("GET", path, { key: "two" }),
        await send("GET", path, { key: "two", headers: events }),
        await send("DELETE", path, { key: "two" }),
      ]
    ) {
      assert.deepEqual([status, body.code], [404, "not_found"]);
    }
    const { status, body } = await send("GET", path);
    assert.deepEqual([status, body.state], [200, "queued"]);
  });

  it("that does not exist is looked up without loading a record", async () => {
    const { send, layers, records } = await edgeWithBlob();
    for (const id of ["0", "1", "2"]) {
      const path = `/v1/jobs/${id.repeat(32)}`;
      assert.equal((await send("GET", path)).status, 404);
      assert.equal((await send("DELETE", path)).status, 404);
    }
    const missing = [{ ...layers[0], weight: "sha256:" + "0".repeat(64) }];
    assert.equal((await send("POST", "/v1/jobs", { json: { layers: missing } })).status, 404);
    assert.equal(records.names.size, 0);
  });

  it("with 4096 unknown blobs is refused after a few lookups", async () => {
    const { send, bucket } = await edgeWithBlob();
    const layers = Array.from({ length: 4096 }, (_, index) => ({
      name: `layer ${index}`,
      weight: "sha256:" + String(index).padStart(64, "0"),
    }));
    bucket.calls.length = 0;
    const { status, body } = await send("POST", "/v1/jobs", { json: { layers } });
    assert.deepEqual([status, body.code, body.blob], [404, "not_found", layers[0].weight]);
    assert.ok(bucket.calls.length <= 6, `${bucket.calls.length} lookups`);
  });

  it("is refused if a blob has less than a day left", async () => {
    const { send, bucket, layers } = await edgeWithBlob();
    const [key, pointer] = [...bucket.objects].find(([key]) => key.startsWith("blobs/"))!;
    const store = (age: number) =>
      bucket.objects.set(key, { ...pointer, uploaded: new Date(Date.now() - age) });
    store(6 * DAY + 1000);
    assert.equal((await send("POST", "/v1/jobs", { json: { layers } })).status, 404);
    store(6 * DAY - 60_000);
    assert.equal((await send("POST", "/v1/jobs", { json: { layers } })).status, 202);
  });

  it("refuses names with half of a surrogate pair, which would be stored as another name", async () => {
    const { send, layers } = await edgeWithBlob();
    for (const json of [{ name: "\ud800", layers }, { layers: [{ ...layers[0], name: "a\udc00" }] }]) {
      const { status, body } = await send("POST", "/v1/jobs", { json });
      assert.deepEqual([status, body.code], [400, "invalid_parameter"]);
      assert.equal(body.errors[0].detail, "must not have half of a surrogate pair");
    }
    const whole = await send("POST", "/v1/jobs", { json: { name: "😀", layers } });
    assert.deepEqual([whole.status, whole.body.name], [202, "😀"]);
  });

  it("answers 304 or 412 if a list of ETags has its ETag", async () => {
    const { send, layers } = await edgeWithBlob();
    const { body: { id } } = await send("POST", "/v1/jobs", { json: { layers } });
    const get = async (headers: Record<string, string>) => await send("GET", `/v1/jobs/${id}`, { headers });
    const etag = (await get({})).headers.get("ETag")!;
    const same = await get({ "If-None-Match": `"0", W/${etag}` });
    assert.deepEqual([same.status, same.body, same.headers.get("ETag")], [304, "", etag]);
    assert.equal((await get({ "If-None-Match": '"0"' })).status, 200);
    assert.equal((await get({ "If-Match": '"0"' })).status, 412);
    assert.equal((await get({ "If-Match": etag })).status, 200);
  });
});

describe("the record of a job", () => {
  it("is not created if its lifetime is not valid, because it would never be deleted", async () => {
    const record = new JobRecord(emptyState(), () => {
      throw new RangeError("EDGE_JOB_DAYS: must be a whole number");
    });
    const request = jobRequestSchema.parse({ layers: [{ name: "a", weight: "sha256:" + "0".repeat(64) }] });
    await assert.rejects(record.create("id", "digest", request), /EDGE_JOB_DAYS/);
    assert.equal(record.read(), undefined);
  });
});
