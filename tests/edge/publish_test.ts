/**
 * Tests how an edge (Pare's Cloudflare Worker) stores the result of a layer that a host has written to the
 * bucket. The host states the digest, and may lie.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { findBlob } from "../../src/edge/blobs/store.ts";
import { createJobContext } from "../../src/edge/jobs/job_context.ts";
import { hexOf, memoryEdge } from "./memory_edge.ts";

const RESULT = new TextEncoder().encode("the pruned layer");

describe("the result of a host", () => {
  it("becomes a blob if it has the stated digest and size", async () => {
    const { env, bucket } = await memoryEdge({ EDGE_HOST_SECRET: "s".repeat(32) });
    await bucket.put("objects/result", RESULT);
    const digest = `sha256:${await hexOf(RESULT)}` as const, { blobs } = createJobContext(env, "job");
    assert.equal(await blobs.publish("objects/result", digest, RESULT.length), true);
    assert.equal((await findBlob(env, digest))?.key, "objects/result");
  });

  it("never becomes a blob under another digest than its own, and its bytes are deleted", async () => {
    const { env, bucket } = await memoryEdge({ EDGE_HOST_SECRET: "s".repeat(32) });
    await bucket.put("objects/result", RESULT);
    const digest = `sha256:${await hexOf("the weight of another client")}` as const;
    assert.equal(
      await createJobContext(env, "job").blobs.publish("objects/result", digest, RESULT.length),
      false,
    );
    assert.equal(await findBlob(env, digest), undefined);
    assert.deepEqual([...bucket.objects.keys()], []);
  });
});
