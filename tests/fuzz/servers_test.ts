/** Fuzzes what the servers parse besides the bodies of requests: headers, names, and the answers of other servers. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { HonoRequest } from "hono/request";
import {
  HostBusyError,
  HostFailedError,
  readTaskAnswer,
  TaskRefusedError,
} from "../../src/edge/jobs/host_answer.ts";
import { earlyStatus, honouredRange } from "../../src/edge/requests/preconditions.ts";
import { parseHostNames, requireHostName } from "../../src/protocol/host_names.ts";
import { problemAnswer, Refusal } from "../../src/protocol/refusal.ts";
import { type ProblemCode, PROBLEMS } from "../../src/protocol/problem_codes.ts";
import { damagedText, near } from "./arbitraries/damaged_bytes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { REPORT, TASK_REQUEST } from "./documents.ts";
import { fuzz, unlessRefused } from "./property.ts";

/** Whether a text can be the value of a header. */
const isHeader = (text: string) => /^[\x20-\x7e]*$/.test(text);

describe("fuzzing names of hosts", () => {
  fuzz("header Host", near("localhost:8000", "[::1]:80", "pare.example.com", "127.0.0.1"), async (header) => {
    const isAccepted = await unlessRefused(() => {
      requireHostName(header, undefined);
      return true;
    }, (error) => error instanceof Refusal && error.code === "invalid_host");
    if (!isAccepted) return "refused";
    // Nothing of the header may become a part of the path or of the query. URL refuses ports and addresses that are too large.
    const url = URL.parse(`http://${header}/path`);
    assert.ok(url === null || (url.pathname === "/path" && url.search === "" && url.username === ""), header);
    return "accepted";
  });

  fuzz("list of host names", near("pare.example.com, 10.0.0.7,[fd00::7]", "a"), async (text) => {
    const names = await unlessRefused(() => parseHostNames(text), (error) => error instanceof RangeError);
    if (!names) return "refused";
    for (const name of names) requireHostName(name.toUpperCase(), names);
    return "accepted";
  });
});

describe("fuzzing conditional requests", () => {
  const etag = '"abc"';
  const list = near(etag, `W/${etag}, "x"`, "*", `"a", ${etag} ,`).filter(isHeader);
  const headers = fc.record({ "If-Match": list, "If-None-Match": list, "If-Range": list }, {
    requiredKeys: [],
  });
  fuzz("entity tags", headers, (headers) => {
    const request = new HonoRequest(
      new Request("http://localhost/", { headers: { ...headers, Range: "bytes=0-" } }),
    );
    const status = earlyStatus(request, etag), range = honouredRange(request, etag);
    assert.ok(status === undefined || status === 304 || status === 412);
    const has = (name: keyof typeof headers) => headers[name]?.includes(etag) || headers[name]?.includes("*");
    if (status === 304) assert.ok(has("If-None-Match"), "304 needs a tag of the resource");
    if (status === undefined && headers["If-Match"] !== undefined) assert.ok(has("If-Match"));
    if (range !== undefined && headers["If-Range"] !== undefined) assert.ok(has("If-Range"));
    return status === undefined ? "accepted" : "refused";
  });
});

describe("fuzzing the answers of hosts about tasks", () => {
  const done = { state: "done", report: REPORT, result: { sha256: TASK_REQUEST.weight.sha256, bytes: 12 } };
  const problem = fc.constantFrom(...Object.keys(PROBLEMS) as ProblemCode[])
    .map((code) => JSON.parse(problemAnswer(new Refusal(code, "a detail"), "id").body));
  const json = fc.oneof(
    damagedJson([{ state: "running" }, done]),
    problem.chain((document) => damagedJson([document])),
  ).map((value) => JSON.stringify(value));
  const answer = fc.record({
    status: fc.constantFrom(200, 202, 400, 401, 404, 409, 413, 422, 429, 500, 502, 503),
    body: fc.oneof(json, damagedText(json), fc.constant("x".repeat(70_000))),
  });
  fuzz("answer about a task", answer, async ({ status, body }) => {
    const isDocumented = (error: unknown) => {
      assert.ok(String(error).length <= 1000, "the error must stay short");
      return error instanceof TaskRefusedError || error instanceof HostBusyError ||
        error instanceof HostFailedError;
    };
    const state = await unlessRefused(
      () => readTaskAnswer(new Response(body, { status }), "host"),
      isDocumented,
    );
    if (!state) return "refused";
    assert.ok(["running", "done"].includes(state.state));
    return "accepted";
  });
});
