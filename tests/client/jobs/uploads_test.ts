/** Uploads through the edge in the real runtime: parts that fail, uploads broken off, what is there already, wrong digests. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { sleep } from "../../../src/async/abort.ts";
import { ConnectionError } from "../../../src/client/errors.ts";
import type { BlobSource } from "../../../src/client/jobs/blob_source.ts";
import { type UploadProgress, Uploads } from "../../../src/client/jobs/uploads.ts";
import { type LocalEdge, startEdge } from "../../edge/local_edge.ts";

const PART_BYTES = 5 * 2 ** 20;

/** Fresh bytes each time: a blob that is there already would not be sent. */
function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** A `fetch` that counts the PUTs of parts by number and does to each what `meddle` does; undefined lets it through. */
function watched(
  meddle: (number: number, attempt: number, url: URL) => Response | Promise<Response> | undefined,
) {
  const attempts: Record<number, number> = {};
  const posts: string[] = [];
  let under = 0, most = 0;
  return {
    attempts,
    posts,
    most: () => most,
    fetch: async (request: Request): Promise<Response> => {
      const url = new URL(request.url);
      if (request.method !== "PUT") {
        if (request.method === "POST") posts.push(url.pathname.split("/").at(-1)!);
        return await fetch(request);
      }
      const number = Number(url.searchParams.get("partNumber"));
      attempts[number] = (attempts[number] ?? 0) + 1;
      most = Math.max(most, ++under);
      try {
        return await (meddle(number, attempts[number], url) ?? fetch(request));
      } finally {
        under--;
      }
    },
  };
}

describe("Uploads", () => {
  let edge: LocalEdge;
  before(async () => {
    edge = await startEdge({ EDGE_PART_BYTES: String(PART_BYTES) });
  });
  after(() => edge.close());

  async function blobOf(digest: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await (await edge.request(`/v1/blobs/${digest}`)).arrayBuffer());
  }

  it("sends parts at the same time, a failed one again alone, and nothing that is there", async () => {
    const body = randomBytes(3 * PART_BYTES + 1);
    const wire = watched((number, attempt) => {
      if (number === 2 && attempt === 1) throw new TypeError("connection reset");
      if (number === 2 && attempt === 2) return new Response("slow down", { status: 503 });
    });
    const uploads = new Uploads({ baseUrl: edge.url, backoffMs: 1, fetch: wire.fetch });
    const digest = await uploads.uploadBlob(body);
    assert.deepEqual(wire.attempts, { 1: 1, 2: 3, 3: 1, 4: 1 });
    assert.equal(wire.most(), 3);
    assert.deepEqual(await blobOf(digest), body);
    assert.equal(await uploads.uploadBlob(body), digest);
    assert.deepEqual(wire.posts, ["uploads", "complete"]);
  });

  it("goes on where an upload was broken off", async () => {
    const body = randomBytes(2 * PART_BYTES + 1);
    let reached: UploadProgress | undefined;
    const broken = watched((number) => {
      if (number === 3) throw new TypeError("connection reset");
    });
    const first = new Uploads({ baseUrl: edge.url, retries: 1, backoffMs: 1, fetch: broken.fetch });
    await assert.rejects(
      first.uploadBlob(body, { concurrency: 1, onPart: (state) => reached = state }),
      (error: Error) => error instanceof ConnectionError && /part 3/.test(error.message),
    );
    assert.deepEqual(reached?.parts.map(({ number }) => number), [1, 2]);
    const whole = watched(() => undefined);
    const second = new Uploads({ baseUrl: edge.url, fetch: whole.fetch });
    const digest = await second.uploadBlob(body, { resume: reached });
    assert.deepEqual(whole.attempts, { 3: 1 });
    assert.deepEqual(await blobOf(digest), body);
  });

  it("begins anew where the edge no longer knows the upload", async () => {
    const body = randomBytes(3);
    const resume = { upload: crypto.randomUUID(), parts: [{ number: 1, etag: "gone" }] };
    const digest = await new Uploads({ baseUrl: edge.url }).uploadBlob(body, { resume });
    assert.deepEqual(await blobOf(digest), body);
  });

  it("renews a URL that the bucket refuses", async () => {
    const body = randomBytes(10), seen = new Set<string>();
    const wire = watched((_, attempt, url) => {
      seen.add(url.href);
      // Signatures change by the second.
      if (attempt === 1) return sleep(1100).then(() => new Response("expired", { status: 403 }));
    });
    const uploads = new Uploads({ baseUrl: edge.url, backoffMs: 1, fetch: wire.fetch });
    await uploads.uploadBlob(body);
    assert.deepEqual([wire.attempts, seen.size], [{ 1: 2 }, 2]);
  });

  it("reads a source by slices, and tells when the bytes are not those of the digest", async () => {
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

  it("stops at once when it is aborted", async () => {
    const stop = new AbortController();
    const wire = watched(() => {
      stop.abort(new Error("enough"));
      return undefined;
    });
    const uploads = new Uploads({ baseUrl: edge.url, fetch: wire.fetch });
    await assert.rejects(uploads.uploadBlob(randomBytes(10), { signal: stop.signal }), /enough/);
  });
});

const SLOW = Deno.env.get("PARE_SLOW") === "1";

describe("Uploads of a large layer", () => {
  // 300 MB through the local bucket take some seconds and a gigabyte.
  it("brings 300 MB in the contract's parts, one of which fails twice", {
    skip: !SLOW && "set PARE_SLOW=1",
  }, async () => {
    const edge = await startEdge();
    try {
      const body = randomBytes(300_000_000);
      const refused = await edge.request("/v1/layers", { method: "POST", body });
      assert.deepEqual([refused.status, (await refused.json()).code], [413, "too_large"]);
      const wire = watched((number, attempt) => {
        if (number === 3 && attempt <= 2) throw new TypeError("connection reset");
      });
      const digest = await new Uploads({ baseUrl: edge.url, backoffMs: 1, fetch: wire.fetch }).uploadBlob(
        body,
      );
      assert.deepEqual(wire.attempts, { 1: 1, 2: 1, 3: 3, 4: 1, 5: 1 });
      const hash = createHash("sha256");
      const answer = await edge.request(`/v1/blobs/${digest}`);
      for await (const chunk of answer.body!) hash.update(chunk);
      assert.equal(`sha256:${hash.digest("hex")}`, digest);
    } finally {
      await edge.close();
    }
  });
});
