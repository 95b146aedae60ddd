/**
 * Tests uploads to the edge (Pare's Cloudflare Worker) outside the Workers runtime, against clients that
 * interfere with them: requests at the wrong moment, wrong sizes, large requests, and other clients' uploads.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { hexOf, memoryEdge } from "./memory_edge.ts";

const BYTES = new TextEncoder().encode("the bytes of a layer");

describe("an upload at the edge", () => {
  it("that is deleted while it is completed never leaves a blob without bytes", async () => {
    const digest = `sha256:${await hexOf(BYTES)}`;
    // The upload is deleted before each operation on the bucket in turn.
    for (let position = 0;; position++) {
      const { bucket, send, upload, completeUpload } = await memoryEdge();
      const begun = await send("POST", "/v1/uploads", { json: { size: BYTES.length, sha256: digest } });
      let operation = 0;
      bucket.before = async () => {
        if (operation++ !== position) return;
        bucket.before = () => {};
        assert.equal((await send("DELETE", `/v1/uploads/${begun.body.upload}`)).status, 204);
      };
      const { status } = await completeUpload(begun, BYTES);
      const when = `deleted before operation ${position}, completed with ${status}`;
      const read = await send("GET", `/v1/blobs/${digest}`);
      assert.equal(read.status, status === 200 ? 200 : 404, when);
      bucket.before = () => {};
      assert.equal((await upload(BYTES)).status, 200, when);
      assert.equal((await send("GET", `/v1/blobs/${digest}`)).body, "the bytes of a layer", when);
      if (operation <= position) break;
    }
  });

  it("replaces a blob whose bytes are missing", async () => {
    const { bucket, send, upload } = await memoryEdge(), digest = `sha256:${await hexOf(BYTES)}`;
    assert.equal((await upload(BYTES)).status, 200);
    for (const key of bucket.objects.keys()) if (key.startsWith("objects/")) bucket.objects.delete(key);
    assert.equal((await send("HEAD", `/v1/blobs/${digest}`)).status, 404);
    assert.equal((await upload(BYTES)).status, 200);
    assert.equal((await send("GET", `/v1/blobs/${digest}`)).body, "the bytes of a layer");
  });

  it("is refused and deleted if it has another size than declared", async () => {
    for (const size of [BYTES.length - 1, BYTES.length + 1]) {
      const { bucket, upload } = await memoryEdge();
      const { status, body } = await upload(BYTES, size);
      assert.deepEqual([status, body.code], [400, "invalid_parameter"]);
      assert.equal(body.detail, `parts: have 20 bytes together, but the upload declared ${size}`);
      assert.deepEqual([...bucket.objects.keys()], []);
    }
  });

  it("of a stored blob is refused if it declares another size than the blob has", async () => {
    const { send, upload } = await memoryEdge();
    await upload(BYTES);
    const { status, body } = await send("POST", "/v1/uploads", {
      json: { size: 7, sha256: await hexOf(BYTES) },
    });
    assert.deepEqual([status, body.code], [400, "invalid_parameter"]);
  });

  it("belongs to the key that began it: other keys find no upload", async () => {
    const { send, completeUpload } = await memoryEdge();
    const begun = await send("POST", "/v1/uploads", {
      json: { size: BYTES.length, sha256: await hexOf(BYTES) },
    });
    const path = `/v1/uploads/${begun.body.upload}`, json = { parts: [{ number: 1, etag: "e" }] };
    for (
      const { status, body } of [
        await send("GET", path, { key: "two" }),
        await send("DELETE", path, { key: "two" }),
        await send("POST", `${path}/complete`, { key: "two", json }),
      ]
    ) {
      assert.deepEqual([status, body.code, body.detail], [
        404,
        "not_found",
        `there is no upload ${begun.body.upload}`,
      ]);
    }
    assert.equal((await send("GET", path)).status, 200);
    assert.equal((await completeUpload(begun, BYTES)).status, 200);
  });
});

describe("a request with JSON", () => {
  const upload = `/v1/uploads/${crypto.randomUUID()}`;

  it("is refused by its size before it is read, if it has more than 1 MiB", async () => {
    const { send } = await memoryEdge(), json = { size: 1, more: "x".repeat(2 ** 20) };
    for (const path of ["/v1/uploads", `${upload}/complete`]) {
      const { status, body } = await send("POST", path, { json });
      assert.deepEqual([status, body.code, body.limit], [413, "too_large", 2 ** 20], path);
    }
  });

  it("is refused if its size is not announced", async () => {
    const { edge, env } = await memoryEdge();
    for (const path of ["/v1/uploads", `${upload}/complete`, "/v1/jobs"]) {
      const init = {
        method: "POST",
        headers: { Authorization: "Bearer one", "Content-Type": "application/json" },
        body: "{}",
      };
      const answer = await edge.request(path, init, env);
      assert.deepEqual([answer.status, (await answer.json()).code], [411, "length_required"], path);
    }
  });

  it("gets a refusal that is never larger than a few kilobytes", async () => {
    const { send } = await memoryEdge();
    const keys = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`key ${index}`, 1]));
    for (const json of [keys, { ["k".repeat(900_000)]: 1 }, { size: "s".repeat(900_000), sha256: [] }]) {
      const { status, body } = await send("POST", "/v1/uploads", { json });
      assert.deepEqual([status, body.code], [400, "invalid_parameter"]);
      assert.ok(JSON.stringify(body).length < 10_000, `${JSON.stringify(body).length} bytes`);
    }
    const layers = Array.from({ length: 4000 }, (_, index) => ({ name: "n".repeat(600), weight: index }));
    const refused = await send("POST", "/v1/jobs", { json: { layers } });
    assert.ok(JSON.stringify(refused.body).length < 10_000, `${JSON.stringify(refused.body).length} bytes`);
    assert.ok(refused.body.errors.length <= 20);
  });
});

describe("the rate limit", () => {
  it("counts every request once", async () => {
    const { send, counted } = await memoryEdge();
    const id = "0".repeat(32), uuid = crypto.randomUUID(), digest = `sha256:${id}${id}`;
    for (
      const [method, path] of [
        ["POST", "/v1/uploads"],
        ["GET", `/v1/uploads/${uuid}`],
        ["POST", `/v1/uploads/${uuid}/complete`],
        ["GET", `/v1/blobs/${digest}`],
        ["POST", "/v1/jobs"],
        ["GET", "/v1/jobs"],
        ["GET", `/v1/jobs/${id}`],
        ["GET", "/v1/hosts"],
        ["POST", "/v1/layers"],
        ["PUT", `/v1/hessians/${digest}`],
        ["GET", "/metrics"],
      ]
    ) {
      counted.length = 0;
      await send(method, path);
      assert.equal(counted.length, 1, `${method} ${path}`);
    }
  });
});
