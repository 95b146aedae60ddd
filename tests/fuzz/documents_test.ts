/** Fuzzes the JSON documents of the HTTP contract: requests that a server checks, and answers that a client checks. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import type { z } from "zod";
import { parseAnswer } from "../../src/client/answers/parse_answer.ts";
import {
  receivedEdgeHost,
  receivedJob,
  receivedJobList,
  receivedUpload,
} from "../../src/protocol/received.ts";
import { errorFromResponse } from "../../src/client/answers/require_success.ts";
import { MalformedAnswerError, PareError } from "../../src/client/errors.ts";
import { printableLine } from "../../src/base/texts.ts";
import { heartbeatSchema } from "../../src/protocol/resources/hosts.ts";
import { jobListQuerySchema, jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import { taskAnswerSchema, taskRequestSchema } from "../../src/protocol/resources/tasks.ts";
import { completeRequestSchema, uploadRequestSchema } from "../../src/protocol/resources/uploads.ts";
import { problemAnswer, Refusal } from "../../src/protocol/refusal.ts";
import { type ProblemCode, PROBLEMS } from "../../src/protocol/problem_codes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { damagedText } from "./arbitraries/damaged_bytes.ts";
import { JOB, JOB_REQUEST, REPORT, TASK_REQUEST } from "./documents.ts";
import { fuzz, unlessRefused } from "./property.ts";

/** Fuzzes a schema of a server. A document that it accepts must be accepted again, with the same result. */
function fuzzSchema(name: string, schema: z.ZodType, ...documents: object[]): void {
  fuzz(name, damagedJson(documents), (document) => {
    const { data, success } = schema.safeParse(document);
    if (!success) return "refused";
    assert.deepEqual(schema.parse(JSON.parse(JSON.stringify(data))), data);
    return "accepted";
  });
}

/** Fuzzes a schema of the client. Every text must be parsed or refused as malformed. */
function fuzzAnswer(name: string, schema: Parameters<typeof parseAnswer>[0], document: object): void {
  const json = damagedJson([document]).map((value) => JSON.stringify(value));
  fuzz(name, fc.oneof(json, damagedText(json)), async (text) => {
    const parse = () => parseAnswer(schema, new TextEncoder().encode(text), "/v1/x", name);
    const value = await unlessRefused(parse, (error) => error instanceof MalformedAnswerError);
    return value === undefined ? "refused" : "accepted";
  });
}

describe("fuzzing documents of the contract", () => {
  fuzzSchema("job request", jobRequestSchema, JOB_REQUEST);
  fuzzSchema("task request", taskRequestSchema, TASK_REQUEST);
  fuzzSchema("task answer", taskAnswerSchema, { state: "running" }, {
    state: "done",
    report: REPORT,
    result: { sha256: TASK_REQUEST.weight.sha256, bytes: 12 },
  });
  fuzzSchema("upload request", uploadRequestSchema, { size: 10, sha256: "0".repeat(64) });
  fuzzSchema("completed parts", completeRequestSchema, { parts: [{ number: 1, etag: '"x"' }] });
  fuzzSchema("heartbeat", heartbeatSchema, {
    url: "http://127.0.0.1:1/",
    backend: "cpu",
    adapter: "x",
    capacity: 2,
    queue: { waiting: 0, resident: 1 },
    factors: [TASK_REQUEST.weight.sha256],
  });
  fuzzSchema("job list query", jobListQuerySchema, {
    state: "done",
    limit: "5",
    cursor: `1-${"a".repeat(32)}`,
  });

  fuzzAnswer("job answer", receivedJob, JOB);
  fuzzAnswer("job list answer", receivedJobList, {
    jobs: [{ ...JOB, layers: { queued: 0, running: 0, done: 1, failed: 0, cancelled: 0 } }],
    cursor: null,
  });
  fuzzAnswer("upload answer", receivedUpload, {
    upload: "u",
    part_size: 5,
    parts: [{ number: 1, url: "http://bucket/1" }],
    expires: "",
  });
  fuzzAnswer("host answer", receivedEdgeHost, {
    url: "http://x",
    backend: "cpu",
    adapter: "y",
    capacity: 1,
    queue: { waiting: 0, resident: 0 },
    factors: [],
    id: "h",
    seen: 0,
  });
});

describe("fuzzing problem documents", () => {
  const problem = JSON.parse(
    problemAnswer(new Refusal("busy", "the queue is full", { retryAfter: 1 }), "id").body,
  );
  const body = fc.oneof(damagedJson([problem]).map((value) => JSON.stringify(value)), fc.string());
  const answer = fc.record({
    status: fc.integer({ min: 400, max: 599 }),
    type: fc.constantFrom("application/problem+json", "application/json", "text/html", ""),
    body: fc.oneof(body, damagedText(body)),
    retryAfter: fc.oneof(
      fc.constantFrom(
        "0",
        "5",
        "-1",
        "9".repeat(400),
        "1e9",
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "Wed, 99 Oct 9999",
        "x",
      ),
      fc.nat().map(String),
    ),
  });

  fuzz("problem answer", answer, async ({ status, type, body, retryAfter }) => {
    const error = await errorFromResponse(
      new Response(body, { status, headers: { "Content-Type": type, "Retry-After": retryAfter } }),
    );
    assert.ok(error instanceof PareError);
    assert.deepEqual([error.status, typeof error.code, typeof error.detail], [status, "string", "string"]);
    assert.ok(error.retryAfter === undefined || error.retryAfter >= 0);
    return error.code === "unknown" ? "refused" : "accepted";
  });

  const refusal = fc.record({
    code: fc.constantFrom(...Object.keys(PROBLEMS) as ProblemCode[]),
    detail: fc.string(),
    retryAfter: fc.option(fc.nat(1000), { nil: undefined }),
    members: fc.dictionary(fc.constantFrom("limit", "tensor", "index", "x"), fc.jsonValue({ maxDepth: 1 })),
  });
  fuzz("problem of a server", refusal, async ({ code, detail, retryAfter, members }) => {
    const { status, headers, body } = problemAnswer(
      new Refusal(code, detail, { retryAfter, members }),
      "an-id",
    );
    const error = await errorFromResponse(new Response(body, { status, headers }));
    assert.deepEqual(
      [error.status, error.code, error.detail, error.requestId, error.retryAfter],
      [PROBLEMS[code].status, code, printableLine(detail.trim().replace(/\s+/g, " ")), "an-id", retryAfter],
    );
    return error.isTransient ? "refused" : "accepted";
  });
});
