/**
 * Tests uploads to an edge (Pare's Cloudflare Worker) in the real Workers runtime: failing parts, interrupted
 * uploads, existing blobs and wrong digests. A blob is a stored upload, named by its digest.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { sleep } from "../../../src/base/waiting.ts";
import { ConnectionError } from "../../../src/client/errors.ts";
import type { BlobSource } from "../../../src/client/digests.ts";
import { type UploadProgress, Uploads } from "../../../src/client/jobs/uploads.ts";
import { startEdge } from "../../edge/local_edge.ts";
import { assertSame } from "../../support/assert_same.ts";

const PART_BYTES = 5 * 2 ** 20;

/** Makes new bytes for each upload, because the bytes of an existing blob would not be sent. */
function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/**
 * Makes a `fetch` that counts the PUT requests of each part. `interfere` may answer such a request or throw. If it returns
 * undefined, the request is sent.
 */
function interceptedFetch(
  interfere: (number: number, attempt: number, url: URL) => Response | Promise<Response> | undefined,
) {
  const attempts: Record<number, number> = {};
  const posts: string[] = [];
  let activeCount = 0, maxActive = 0;
  return {
    attempts,
    posts,
    maxActive: () => maxActive,
    fetch: async (request: Request): Promise<Response> => {
      const url = new URL(request.url);
      if (request.method !== "PUT") {
        if (request.method === "POST") posts.push(url.pathname.split("/").at(-1)!);
        return await fetch(request);
      }
      const number = Number(url.searchParams.get("partNumber"));
      attempts[number] = (attempts[number] ?? 0) + 1;
      maxActive = Math.max(maxActive, ++activeCount);
      try {
        return await (interfere(number, attempts[number], url) ?? fetch(request));
      } finally {
        activeCount--;
      }
    },
  };
}

const edge = await startEdge({ EDGE_PART_BYTES: String(PART_BYTES) });
after(() => edge.close());

describe("Uploads", () => {
  async function blobOf(digest: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await (await edge.request(`/v1/blobs/${digest}`)).arrayBuffer());
  }

  it("sends three parts at the same time, repeats only failed parts, and sends no parts of an existing blob", async () => {
    const body = randomBytes(3 * PART_BYTES + 1);
    const wire = interceptedFetch((number, attempt) => {
      if (number === 2 && attempt === 1) throw new TypeError("connection reset");
      if (number === 2 && attempt === 2) return new Response("slow down", { status: 503 });
    });
    const retried: string[] = [];
    const onRetry = ({ message }: Error) => retried.push(message);
    const uploads = new Uploads({ baseUrl: edge.url, backoffMs: 1, fetch: wire.fetch, onRetry });
    const digest = await uploads.uploadBlob(body);
    assert.deepEqual(wire.attempts, { 1: 1, 2: 3, 3: 1, 4: 1 });
    assert.deepEqual(retried, [
      "part 2 of the upload: connection closed by the server",
      "unknown (503): slow down",
    ]);
    assert.equal(wire.maxActive(), 3);
    assertSame(await blobOf(digest), body);
    assert.equal(await uploads.uploadBlob(body), digest);
    assert.deepEqual(wire.posts, ["uploads", "complete"]);
  });

  it("sends no parts if another client has stored the same bytes after the edge was asked for them", async () => {
    const body = randomBytes(100);
    const digest = await new Uploads({ baseUrl: edge.url }).uploadBlob(body);
    const wire = interceptedFetch(() => undefined);
    const late = new Uploads({
      baseUrl: edge.url,
      fetch: async (request) =>
        request.method === "HEAD" ? new Response(null, { status: 404 }) : await wire.fetch(request),
    });
    assert.equal(await late.uploadBlob(body), digest);
    assert.deepEqual([wire.posts, wire.attempts], [["uploads"], {}]);
  });

  it("resumes an interrupted upload and sends only the missing part", async () => {
    const body = randomBytes(2 * PART_BYTES + 1);
    let reached: UploadProgress | undefined;
    const broken = interceptedFetch((number) => {
      if (number === 3) throw new TypeError("connection reset");
    });
    const first = new Uploads({ baseUrl: edge.url, retries: 1, backoffMs: 1, fetch: broken.fetch });
    await assert.rejects(
      first.uploadBlob(body, { concurrency: 1, onPart: (state) => reached = state }),
      (error: Error) => error instanceof ConnectionError && /part 3/.test(error.message),
    );
    assert.deepEqual(reached?.parts.map(({ number }) => number), [1, 2]);
    const whole = interceptedFetch(() => undefined);
    const second = new Uploads({ baseUrl: edge.url, fetch: whole.fetch });
    const digest = await second.uploadBlob(body, { resume: reached });
    assert.deepEqual(whole.attempts, { 3: 1 });
    assertSame(await blobOf(digest), body);
  });

  it("starts from the beginning if the edge does not have the upload to resume", async () => {
    const body = randomBytes(3);
    const resume = { upload: crypto.randomUUID(), parts: [{ number: 1, etag: "gone" }] };
    const digest = await new Uploads({ baseUrl: edge.url }).uploadBlob(body, { resume });
    assert.deepEqual(await blobOf(digest), body);
  });

  it("renews a signed URL that the bucket refuses", async () => {
    const body = randomBytes(10), seen = new Set<string>();
    const wire = interceptedFetch((_, attempt, url) => {
      seen.add(url.href);
      // A signature depends on the time in whole seconds.
      if (attempt === 1) return sleep(1100).then(() => new Response("expired", { status: 403 }));
    });
    const uploads = new Uploads({ baseUrl: edge.url, backoffMs: 1, fetch: wire.fetch });
    await uploads.uploadBlob(body);
    assert.deepEqual([wire.attempts, seen.size], [{ 1: 2 }, 2]);
  });

  it("reads a source in slices, and throws if the bytes do not have the given digest", async () => {
    const body = randomBytes(PART_BYTES + 5), slices: [number, number][] = [];
    const source: BlobSource = {
      size: body.length,
      slice(start, end) {
        slices.push([start, end]);
        return Promise.resolve(new Blob([body.slice(start, end)]));
      },
    };
    const digest = `sha256:${"1".repeat(64)}`;
    await assert.rejects(new Uploads({ baseUrl: edge.url }).uploadBlob(source, { digest }), {
      code: "digest_mismatch",
    });
    assert.deepEqual(slices, [[0, PART_BYTES], [PART_BYTES, body.length]]);
  });

  it("throws the signal's reason when the signal is aborted", async () => {
    const stop = new AbortController();
    const wire = interceptedFetch(() => {
      stop.abort(new Error("enough"));
      return undefined;
    });
    const uploads = new Uploads({ baseUrl: edge.url, fetch: wire.fetch });
    await assert.rejects(uploads.uploadBlob(randomBytes(10), { signal: stop.signal }), /enough/);
  });
});
