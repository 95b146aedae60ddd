/** Tests the conversion of failed responses to errors, with and without a problem+json body. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { errorFromResponse, requireSuccess } from "../../src/client/answers/require_success.ts";
import { MalformedAnswerError } from "../../src/client/errors.ts";

const JSON_TYPE = { "Content-Type": "application/problem+json" };

describe("errorFromResponse()", () => {
  it("shortens the members of a problem, and makes them printable", async () => {
    const text = `\u001b[2J${"x".repeat(3_000_000)}`;
    for (const size of [10_000, 3_000_000]) {
      const body = { code: "busy", detail: text.slice(0, size) };
      const error = await errorFromResponse(Response.json(body, { status: 429, headers: JSON_TYPE }));
      assert.ok(error.message.length < 2200, `${error.message.length} characters`);
      assert.doesNotMatch(error.message, /\p{Cc}/u);
    }
  });

  it("takes the code, the detail and the request id from a problem+json body", async () => {
    const body = { code: "busy", title: "T", detail: "the queue of 4 is full", request_id: "r-7" };
    const error = await errorFromResponse(
      Response.json(body, { status: 429, headers: { ...JSON_TYPE, "Retry-After": "2" } }),
    );
    assert.deepEqual(
      [error.status, error.code, error.detail, error.requestId, error.retryAfter, error.isTransient],
      [429, "busy", "the queue of 4 is full", "r-7", 2, true],
    );
    assert.equal(error.message, "busy (429): the queue of 4 is full");
  });

  it("accepts a code that is not in the contract", async () => {
    const error = await errorFromResponse(Response.json({ code: "teapot", title: "T" }, { status: 418 }));
    assert.deepEqual([error.code, error.detail, error.isTransient], ["teapot", "T", false]);
  });

  it("quotes the start of a body that is not problem+json", async () => {
    const page = `<html>${"x".repeat(5000)}`;
    const error = await errorFromResponse(
      new Response(page, { status: 502, headers: { "Content-Type": "text/html", "X-Request-Id": "r-8" } }),
    );
    assert.deepEqual([error.code, error.requestId, error.isTransient], ["unknown", "r-8", true]);
    assert.equal(error.detail, `${page.slice(0, 200)}…`);
  });

  for (const body of ["{", "null", "[]", '"text"', "7"]) {
    it(`quotes the body ${body}, which is not a JSON object, although its type is JSON`, async () => {
      const error = await errorFromResponse(new Response(body, { status: 500, headers: JSON_TYPE }));
      assert.deepEqual([error.code, error.detail], ["unknown", body]);
    });
  }

  it("ignores members of a problem that are not strings", async () => {
    const body = { code: 7, detail: ["x"], title: null, request_id: {} };
    const error = await errorFromResponse(Response.json(body, { status: 422 }));
    assert.deepEqual([error.code, error.detail, error.requestId], [
      "unknown",
      "no detail given",
      undefined,
    ]);
  });

  it("uses the text of the status if the body is empty", async () => {
    const error = await errorFromResponse(new Response(null, { status: 503, statusText: "Unavailable" }));
    assert.equal(error.message, "unknown (503): Unavailable");
  });

  it("reads Retry-After as a date, and ignores it if it is neither seconds nor a date", async () => {
    const retryAfter = async (value: string) =>
      (await errorFromResponse(new Response(null, { status: 503, headers: { "Retry-After": value } })))
        .retryAfter;
    const inAMinute = await retryAfter(new Date(Date.now() + 60_000).toUTCString());
    assert.ok(inAMinute !== undefined && inAMinute > 57 && inAMinute <= 60, String(inAMinute));
    assert.equal(await retryAfter(new Date(0).toUTCString()), 0);
    assert.equal(await retryAfter("soon"), undefined);
  });
});

describe("requireSuccess()", () => {
  it("refuses redirects, and names their target", async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      const response = new Response(null, { status, headers: { Location: "http://elsewhere/" } });
      await assert.rejects(requireSuccess(response, "http://fake"), (error: Error) => {
        assert.ok(error instanceof MalformedAnswerError);
        assert.match(error.message, /^http:\/\/fake: redirects to http:\/\/elsewhere\//);
        return true;
      });
    }
  });
});
