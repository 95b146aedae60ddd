/** Tests conditional requests at the edge (Pare's Cloudflare Worker): their headers, and their effect on blobs. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { Hono } from "hono";
import { earlyStatus, honouredRange, parseRange } from "../../src/edge/requests/preconditions.ts";
import { hexOf, memoryEdge } from "./memory_edge.ts";

const ETAG = '"a"';

/** Calls `evaluate` with a request that has these headers, and returns the result. */
async function evaluated<T>(
  headers: Record<string, string>,
  evaluate: (request: Parameters<typeof earlyStatus>[0], etag: string) => T,
): Promise<T> {
  const app = new Hono();
  let result: T;
  app.get("/", (c) => (result = evaluate(c.req, ETAG), c.text("")));
  await app.request("/", { headers });
  return result!;
}

describe("earlyStatus()", () => {
  const cases: [headers: Record<string, string>, status: 304 | 412 | undefined][] = [
    [{}, undefined],
    [{ "If-None-Match": '"a"' }, 304],
    [{ "If-None-Match": 'W/"a"' }, 304],
    [{ "If-None-Match": '"b", "a"' }, 304],
    [{ "If-None-Match": '"b",W/"a" , "c"' }, 304],
    [{ "If-None-Match": '"b,", ,"a",' }, 304],
    [{ "If-None-Match": "*" }, 304],
    [{ "If-None-Match": '"b", "c"' }, undefined],
    [{ "If-None-Match": 'b, "a' }, undefined],
    [{ "If-None-Match": "a" }, undefined],
    [{ "If-None-Match": "" }, undefined],
    [{ "If-Match": '"a"' }, undefined],
    [{ "If-Match": '"b", "a"' }, undefined],
    [{ "If-Match": "*" }, undefined],
    [{ "If-Match": 'W/"a"' }, 412],
    [{ "If-Match": '"b"' }, 412],
    [{ "If-Match": "a" }, 412],
    [{ "If-Match": '"b"', "If-None-Match": '"a"' }, 412],
    [{ "If-Match": '"a"', "If-None-Match": '"a"' }, 304],
    [{ "If-Modified-Since": "Wed, 21 Oct 2099 07:28:00 GMT" }, undefined],
  ];
  for (const [headers, status] of cases) {
    it(`returns ${status} for ${JSON.stringify(headers)}`, async () => {
      assert.equal(await evaluated(headers, earlyStatus), status);
    });
  }

  it("takes time in proportion to a long header", async () => {
    const start = performance.now();
    for (const list of [",".repeat(60_000) + "x", '"b",'.repeat(15_000) + "x", '"'.repeat(60_000)]) {
      assert.equal(await evaluated({ "If-None-Match": list }, earlyStatus), undefined);
    }
    assert.ok(performance.now() - start < 1000);
  });
});

describe("honouredRange()", () => {
  it("returns the range unless If-Range has anything but the strong ETag", async () => {
    const range = "bytes=0-1";
    const returned = (condition: Record<string, string>) =>
      evaluated({ Range: range, ...condition }, honouredRange);
    assert.equal(await returned({}), range);
    assert.equal(await returned({ "If-Range": '"a"' }), range);
    for (const condition of ['W/"a"', '"b"', "a", "*", "Wed, 21 Oct 2015 07:28:00 GMT"]) {
      assert.equal(await returned({ "If-Range": condition }), undefined, condition);
    }
  });
});

describe("a conditional request for a blob", () => {
  it("gets no bytes that the client has, and no part of other bytes", async () => {
    const { send, upload } = await memoryEdge(), bytes = new TextEncoder().encode("the bytes");
    await upload(bytes);
    const digest = `sha256:${await hexOf(bytes)}`, etag = `"${digest}"`;
    const get = async (headers: Record<string, string>, method = "GET") => {
      const { status, body } = await send(method, `/v1/blobs/${digest}`, { headers });
      return [status, body];
    };
    assert.deepEqual(await get({ "If-None-Match": `"x", ${etag}` }), [304, ""]);
    assert.deepEqual(await get({ "If-None-Match": "*" }, "HEAD"), [304, ""]);
    assert.deepEqual(await get({ "If-Match": '"x"' }), [412, ""]);
    assert.deepEqual(await get({ "If-Match": `W/${etag}` }, "HEAD"), [412, ""]);
    assert.deepEqual(await get({ "If-Match": etag }), [200, "the bytes"]);
    assert.deepEqual(await get({ Range: "bytes=4-", "If-Range": etag }), [206, "bytes"]);
    assert.deepEqual(await get({ Range: "bytes=4-", "If-Range": '"x"' }), [200, "the bytes"]);
  });
});

describe("parseRange()", () => {
  it("returns one range of bytes, limited to the end of the body", () => {
    assert.deepEqual(parseRange("bytes=0-0", 10), { offset: 0, length: 1 });
    assert.deepEqual(parseRange("bytes=3-5", 10), { offset: 3, length: 3 });
    assert.deepEqual(parseRange("bytes=3-", 10), { offset: 3, length: 7 });
    assert.deepEqual(parseRange("bytes=9-99", 10), { offset: 9, length: 1 });
    assert.deepEqual(parseRange("bytes=-4", 10), { offset: 6, length: 4 });
    assert.deepEqual(parseRange("bytes=-99", 10), { offset: 0, length: 10 });
    assert.deepEqual(parseRange("bytes=4294967296-", 2 ** 33), { offset: 2 ** 32, length: 2 ** 32 });
  });

  it("returns 'unsatisfiable' for a range outside of the body", () => {
    for (const header of ["bytes=10-", "bytes=10-12", "bytes=-0"]) {
      assert.equal(parseRange(header, 10), "unsatisfiable", header);
    }
  });

  it("returns undefined for an invalid or unsupported header", () => {
    for (const header of [undefined, "", "bytes=-", "bytes=5-3", "bytes=0-1,3-4", "rows=0-1", "bytes=a-b"]) {
      assert.equal(parseRange(header, 10), undefined, header);
    }
  });
});
