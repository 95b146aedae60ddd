/**
 * Tests one attempt to solve a layer of a job at a simulated GPU host: waiting, transient failures and
 * permanent failures.
 */

import assert from "node:assert/strict";
import { mock } from "node:test";
import { after, before, describe, it } from "@std/testing/bdd";
import { attemptLayer } from "../../src/edge/jobs/attempt.ts";
import { HostFailedError } from "../../src/edge/jobs/host_answer.ts";
import { type Answer, DONE, problem, REPORT, RESULT, RUNNING, simulateJob, WEIGHT } from "./simulate_job.ts";

/** Returns a body that never ends. */
function endlessBody(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65_536)) });
}

describe("attemptLayer()", () => {
  const { error } = console;
  // Failed attempts are logged.
  before(() => {
    console.error = () => {};
  });
  after(() => {
    console.error = error;
  });

  it("asks for the state of the task until the task is done", async () => {
    const { context, layer, calls, registry } = simulateJob([RUNNING, RUNNING, DONE]);
    await attemptLayer(0, context);
    assert.deepEqual([layer().state, layer().result, layer().attempts], ["done", RESULT, 1]);
    assert.deepEqual(calls, Array(3).fill("POST http://h/base/v1/tasks"));
    assert.equal(registry.choose("other", undefined)!.id, "h");
  });

  it("calls the record of the job every ten seconds while it verifies an answer", async () => {
    mock.timers.enable({ apis: ["setInterval"] });
    const { context, record, layer } = simulateJob([DONE]), isWanted = mock.method(record, "isWanted");
    const publish = () => {
      isWanted.mock.resetCalls();
      mock.timers.tick(60_000);
      assert.equal(isWanted.mock.callCount(), 6);
      return Promise.resolve(true);
    };
    await attemptLayer(0, { ...context, blobs: { ...context.blobs, publish } });
    assert.equal(layer().state, "done");
    isWanted.mock.resetCalls();
    mock.timers.tick(60_000);
    assert.equal(isWanted.mock.callCount(), 0);
    mock.timers.reset();
  });

  it("waits while the host is busy, without counting another attempt", async () => {
    const { context, layer } = simulateJob([problem(429, "busy"), problem(429, "busy"), DONE]);
    await attemptLayer(0, context);
    assert.deepEqual([layer().state, layer().attempts], ["done", 1]);
  });

  const gone: [string, Answer][] = [
    ["a broken connection", () => Promise.reject(new TypeError("connection reset"))],
    ["an answer from another process at the same address", problem(401, "unauthorized")],
    ["the error page of a proxy", () => new Response("<html>", { status: 524 })],
    ["an answer that is not a task", () => Response.json({ state: "fine" })],
    ["a redirect", () => new Response(null, { status: 307, headers: { Location: "http://elsewhere" } })],
    ["an answer of 3 MB", () => new Response("x".repeat(3e6))],
    ["an answer without an end", () => new Response(endlessBody())],
    [
      "a problem of 3 MB",
      () => Response.json({ code: "non_finite", detail: "x".repeat(3e6) }, { status: 422 }),
    ],
    ["a problem whose code is not a text", () => Response.json({ code: 42, detail: [] }, { status: 400 })],
    ["a problem that is null", () => Response.json(null, { status: 400 })],
    [
      "a result that is not a digest",
      () => Response.json({ state: "done", report: REPORT, result: { sha256: "../x", bytes: 9 } }),
    ],
  ];
  for (const [name, answer] of gone) {
    it(`throws a HostFailedError after ${name}, and the host gets no layers until its next heartbeat`, async () => {
      const { context, layer, registry, sendHeartbeat } = simulateJob([RUNNING, answer, DONE]);
      await assert.rejects(attemptLayer(0, context), HostFailedError);
      assert.equal(layer().state, "running");
      assert.equal(registry.choose("other", undefined), undefined);
      sendHeartbeat();
      await attemptLayer(0, context);
      assert.deepEqual([layer().state, layer().attempts], ["done", 2]);
    });
  }

  const failing: [string, Answer][] = [
    ["a lost device", problem(503, "device_lost")],
    ["a blob that the host cannot read", problem(502, "blob_unavailable")],
    ["a body that came too slowly", problem(408, "too_slow")],
    ["an origin that only this host does not allow", problem(403, "forbidden")],
    ["an internal error", problem(500, "internal")],
    ["a code that the edge does not know", problem(400, "new_code")],
  ];
  for (const [name, answer] of failing) {
    it(`throws a HostFailedError after ${name}, and the host stays registered, because it has answered`, async () => {
      const { context, layer, registry } = simulateJob([answer, DONE]);
      await assert.rejects(attemptLayer(0, context), HostFailedError);
      assert.equal(layer().state, "running");
      assert.equal(registry.choose("other", undefined)!.id, "h");
      await attemptLayer(0, context);
      assert.deepEqual([layer().state, layer().attempts], ["done", 2]);
    });
  }

  it("prefers another host than the host of the previous failed attempt, also after no host was alive", async () => {
    const { context, registry, calls, sendHeartbeat } = simulateJob([problem(503, "device_lost"), DONE]);
    await assert.rejects(attemptLayer(0, context), HostFailedError);
    const state = { ...registry.aliveHosts()[0], url: "http://i", queue: { waiting: 9, resident: 9 } };
    registry.deregister("h");
    const sleep = (milliseconds: number) => {
      registry.recordHeartbeat("i", state);
      sendHeartbeat();
      return context.sleep(milliseconds);
    };
    await attemptLayer(0, { ...context, sleep });
    assert.deepEqual(calls, ["POST http://h/base/v1/tasks", "POST http://i/v1/tasks"]);
  });

  it("records the error of a short file for good, and takes no host from the registry", async () => {
    const { context, record, registry } = simulateJob(Array(40).fill(problem(400, "truncated_body")), 40);
    for (let position = 0; position < 40; position++) await attemptLayer(position, context);
    const { state, layers } = record.read()!.job;
    assert.equal(state, "failed");
    assert.ok(layers.every(({ attempts, error }) => attempts === 1 && error?.code === "truncated_body"));
    assert.equal(registry.aliveHosts().length, 1);
  });

  it("cuts what the error of a layer quotes of the host's answer", async () => {
    const long = () => Response.json({ code: "non_finite", detail: "x".repeat(5000) }, { status: 422 });
    const { context, layer } = simulateJob([long]);
    await attemptLayer(0, context);
    assert.deepEqual([layer().error?.code, layer().error?.detail.length], ["non_finite", 201]);
  });

  it("does not show a client the internal address of a blob", async () => {
    const answer = () =>
      Response.json({ code: "digest_mismatch", detail: "http://10.0.0.1/x has …" }, { status: 409 });
    const { context, layer } = simulateJob([answer]);
    await attemptLayer(0, context);
    assert.deepEqual(layer().error, {
      code: "digest_mismatch",
      detail: "the host read a blob whose bytes do not have its digest",
    });
  });

  it("ends with the code busy after five attempts at which all hosts were busy", async () => {
    const { context, layer, sendHeartbeat } = simulateJob(Array(500).fill(problem(429, "busy")));
    const busy = {
      ...context,
      sleep: (milliseconds: number) => (sendHeartbeat(), context.sleep(milliseconds)),
    };
    for (let attempt = 1; attempt <= 4; attempt++) await assert.rejects(attemptLayer(0, busy), /busy it is/);
    await attemptLayer(0, busy);
    assert.deepEqual(layer().error, {
      code: "busy",
      detail: "all GPU hosts were busy in 5 attempts of 5 s",
    });
  });

  it("throws if the host has not written all bytes of the result", async () => {
    const short = () =>
      Response.json({ state: "done", report: REPORT, result: { sha256: RESULT, bytes: 8 } });
    await assert.rejects(attemptLayer(0, simulateJob([short]).context), /did not write the 8 bytes/);
  });

  it("records an error of the layer if the host refuses the task or the weight is not stored", async () => {
    const refused = simulateJob([problem(422, "not_positive_definite")]);
    await attemptLayer(0, refused.context);
    assert.deepEqual(refused.layer().error, {
      code: "not_positive_definite",
      detail: "not_positive_definite it is",
    });
    const { context, layer } = simulateJob([]);
    await attemptLayer(0, {
      ...context,
      blobs: { ...context.blobs, readUrl: () => Promise.resolve(undefined) },
    });
    assert.deepEqual(layer().error, { code: "not_found", detail: `blob ${WEIGHT} is not stored` });
  });

  it("records no_device if no host is alive for the configured time", async () => {
    const { context, layer, registry, clock } = simulateJob([]);
    registry.deregister("h");
    await attemptLayer(0, context);
    assert.deepEqual(layer().error, { code: "no_device", detail: "no GPU host was alive for 5 s" });
    assert.ok(clock.now > 5000);
  });

  it("cancels the task at the host when the job is cancelled", async () => {
    const { context, layer, record, calls } = simulateJob([
      () => {
        record.cancel();
        return RUNNING();
      },
      () => new Response(null, { status: 204 }),
    ]);
    await attemptLayer(0, context);
    assert.equal(layer().error?.code, "cancelled");
    assert.deepEqual(calls.at(-1), "DELETE http://h/base/v1/tasks/job.0.1");
    await attemptLayer(0, context);
    assert.equal(calls.length, 2, "a settled layer is not attempted");
  });

  it("cancels the task and throws if the host takes more than half an hour", async () => {
    const { context, calls } = simulateJob([...Array(400).fill(RUNNING)]);
    await assert.rejects(attemptLayer(0, context), /took more than 30 minutes/);
    assert.match(calls.at(-1)!, /^DELETE/);
  });
});
