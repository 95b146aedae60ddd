/**
 * Tests uploads and blobs of the edge (Pare's Cloudflare Worker) in the real Workers runtime. A blob is a
 * stored upload, named by its digest. The tests cover signed URLs, digests, ranges, repeated requests,
 * and garbage collection.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { completedSchema, type UploadedParts, uploadSchema } from "../../src/protocol/resources/uploads.ts";
import type { Upload } from "../../src/protocol/messages.ts";
import { codeOf } from "../routes/task_hosts.ts";
import { type LocalEdge, startEdge } from "./local_edge.ts";
import { hexOf } from "./memory_edge.ts";
import { assertSame } from "../support/assert_same.ts";

/** The smallest part that R2 accepts, except for the last one. */
const PART_BYTES = 5 * 2 ** 20;

/** Returns bytes that depend on the seed. */
function bytesOf(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + seed) & 255;
  return bytes;
}

describe("uploads in the Workers runtime", () => {
  let edge: LocalEdge;
  before(async () => {
    edge = await startEdge({ EDGE_PART_BYTES: String(PART_BYTES) });
  });
  after(() => edge.close());

  /**
   * Begins an upload of `body`. The upload declares the digest `sha256`, or the real digest of `body` if that
   * is not given.
   */
  async function begin(body: Uint8Array<ArrayBuffer>, sha256?: string): Promise<Upload> {
    const answer = await edge.post("/v1/uploads", { size: body.length, sha256: sha256 ?? await hexOf(body) });
    assert.equal(answer.status, 201);
    return uploadSchema.parse(await answer.json());
  }

  /** Sends every part of `body` to its URL. Returns the parts with their ETags. */
  async function putParts(body: Uint8Array<ArrayBuffer>, upload: Upload): Promise<UploadedParts> {
    return await Promise.all(upload.parts.map(async ({ number, url }) => {
      const start = (number - 1) * upload.part_size;
      const answer = await fetch(url, { method: "PUT", body: body.slice(start, start + upload.part_size) });
      await answer.body?.cancel();
      assert.equal(answer.status, 200);
      return { number, etag: answer.headers.get("ETag")! };
    }));
  }

  const complete = (upload: Upload, parts: UploadedParts) =>
    edge.post(`/v1/uploads/${upload.upload}/complete`, { parts });

  it("a completed upload becomes a blob, which can be read whole and by range", async () => {
    const body = bytesOf(2 * PART_BYTES + 17, 1), digest = `sha256:${await hexOf(body)}`;
    assert.equal((await edge.request(`/v1/blobs/${digest}`, { method: "HEAD" })).status, 404);
    const upload = await begin(body);
    assert.deepEqual(upload.parts.map(({ number }) => number), [1, 2, 3]);
    const parts = await putParts(body, upload);
    assert.equal(
      (await edge.request(`/v1/blobs/${digest}`, { method: "HEAD" })).status,
      404,
      "the upload is not completed yet",
    );
    for (let time = 1; time <= 2; time++) {
      // A client repeats the request if the answer was lost.
      const answer = await complete(upload, parts.toReversed());
      assert.deepEqual(completedSchema.parse(await answer.json()), { blob: digest });
    }
    const again = await edge.post("/v1/uploads", { size: body.length, sha256: digest });
    assert.deepEqual([again.status, await again.json()], [200, { blob: digest }], "nothing needs to be sent");
    const head = await edge.request(`/v1/blobs/${digest}`, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("Content-Length")], [200, String(body.length)]);
    const whole = await edge.request(`/v1/blobs/${digest}`);
    assert.equal(await hexOf(new Uint8Array(await whole.arrayBuffer())), digest.slice(7));
    const across = await edge.request(`/v1/blobs/${digest}`, {
      headers: { Range: `bytes=${PART_BYTES - 2}-${PART_BYTES + 1}` },
    });
    assert.deepEqual([across.status, across.headers.get("Content-Range")], [
      206,
      `bytes ${PART_BYTES - 2}-${PART_BYTES + 1}/${body.length}`,
    ]);
    assert.deepEqual(new Uint8Array(await across.arrayBuffer()), body.slice(PART_BYTES - 2, PART_BYTES + 2));
    const outside = await edge.request(`/v1/blobs/${digest}`, {
      headers: { Range: `bytes=${body.length}-` },
    });
    assert.deepEqual([outside.status, outside.headers.get("Content-Range")], [416, `bytes */${body.length}`]);
  });

  it("an upload may have one byte", async () => {
    const body = bytesOf(1, 7), upload = await begin(body);
    assert.equal((await complete(upload, await putParts(body, upload))).status, 200);
    const answer = await edge.request(`/v1/blobs/sha256:${await hexOf(body)}`);
    assertSame(new Uint8Array(await answer.arrayBuffer()), body);
  });

  it("bytes with a wrong digest never become a blob, and never replace the bytes of one", async () => {
    const right = bytesOf(1000, 2), wrong = bytesOf(1000, 3), hex = await hexOf(right);
    const first = await begin(wrong, hex);
    const answer = await complete(first, await putParts(wrong, first));
    assert.equal(answer.status, 409);
    const problem = await answer.json();
    assert.deepEqual([problem.code, problem.expected, problem.got], [
      "digest_mismatch",
      `sha256:${hex}`,
      `sha256:${await hexOf(wrong)}`,
    ]);
    assert.deepEqual(await codeOf(await edge.request(`/v1/blobs/sha256:${hex}`)), [404, "not_found"]);
    assert.deepEqual(await codeOf(await complete(first, [{ number: 1, etag: "x" }])), [404, "not_found"]);

    const second = await begin(right), third = await begin(wrong, hex);
    assert.equal((await complete(second, await putParts(right, second))).status, 200);
    assert.equal(
      (await complete(third, await putParts(wrong, third))).status,
      200,
      "the blob exists already",
    );
    const stored = await edge.request(`/v1/blobs/sha256:${hex}`);
    assertSame(new Uint8Array(await stored.arrayBuffer()), right);
  });

  it("a list of parts that does not match the upload is refused", async () => {
    const body = bytesOf(PART_BYTES + 1, 4), upload = await begin(body);
    const parts = await putParts(body, upload);
    const refused = [400, "invalid_parameter"];
    assert.deepEqual(await codeOf(await complete(upload, parts.slice(1))), refused);
    assert.deepEqual(await codeOf(await complete(upload, [parts[0], parts[0]])), refused);
    assert.deepEqual(await codeOf(await complete(upload, [])), refused);
    assert.deepEqual(
      await codeOf(await complete(upload, [parts[0], { number: 2, etag: "nonsense" }])),
      refused,
    );
    assert.equal((await complete(upload, parts)).status, 200, "the upload can still be completed");
  });

  it("an upload gets new URLs on request, and can be deleted", async () => {
    const upload = await begin(bytesOf(10, 5)), path = `/v1/uploads/${upload.upload}`;
    const renewed = uploadSchema.parse(await (await edge.request(path)).json());
    assert.deepEqual([renewed.upload, renewed.parts.length], [upload.upload, 1]);
    assert.equal((await edge.request(path, { method: "DELETE" })).status, 204);
    assert.deepEqual(await codeOf(await edge.request(path)), [404, "not_found"]);
  });

  it("a malformed request is refused with an error code", async () => {
    const sha256 = "0".repeat(64), refused = [400, "invalid_parameter"];
    const whole = { size: 1, sha256 };
    const bodies = [{}, { size: 1 }, { ...whole, size: 0 }, { ...whole, size: 1.5 }, {
      ...whole,
      size: 2 ** 40,
    }, {
      ...whole,
      sha256: "0",
    }, { ...whole, more: 1 }];
    for (const body of bodies) {
      assert.deepEqual(await codeOf(await edge.post("/v1/uploads", body)), refused, JSON.stringify(body));
    }
    for (const text of ["{", "", "[]"]) {
      const headers = { "Content-Type": "application/json" };
      const answer = await edge.request("/v1/uploads", { method: "POST", headers, body: text });
      assert.deepEqual(await codeOf(answer), refused, text);
    }
    const asText = await edge.request("/v1/uploads", { method: "POST", body: "{}" });
    assert.deepEqual(await codeOf(asText), [415, "unsupported_media_type"]);
    assert.deepEqual(await codeOf(await edge.request("/v1/blobs/sha256:zz")), refused);
    assert.deepEqual(await codeOf(await edge.request(`/v1/uploads/${crypto.randomUUID()}`)), [
      404,
      "not_found",
    ]);
  });

  it("garbage collection deletes uploads and blobs after their lifetimes, and not before", async () => {
    const body = bytesOf(100, 6), digest = `sha256:${await hexOf(body)}`;
    const upload = await begin(body);
    assert.equal((await complete(upload, await putParts(body, upload))).status, 200);
    const abandoned = await begin(bytesOf(100, 8));
    const day = 86_400_000, now = Date.now();
    const worker = edge.harness.getWorker();
    const status = async (path: string) => {
      const answer = await edge.request(path);
      await answer.body?.cancel();
      return answer.status;
    };
    const collectAt = (time: number) =>
      worker.scheduled({ cron: "17 3 * * *", scheduledTime: new Date(time) });
    await collectAt(now + day - 60_000);
    assert.equal(await status(`/v1/uploads/${abandoned.upload}`), 200, "the upload is not a day old");
    await collectAt(now + day + 60_000);
    assert.equal(await status(`/v1/uploads/${abandoned.upload}`), 404, "the upload is more than a day old");
    await collectAt(now + 7 * day - 60_000);
    assert.equal(await status(`/v1/blobs/${digest}`), 200, "the blob is not seven days old");
    await collectAt(now + 7 * day + 60_000);
    assert.equal(await status(`/v1/blobs/${digest}`), 404, "the blob is more than seven days old");
    const { BLOBS } = await worker.getEnv();
    assert.deepEqual((await BLOBS.list({})).objects.map(({ key }: { key: string }) => key), []);
  });
});
