/**
 * Tests one attempt to solve a layer of a job at a simulated GPU host: waiting, transient failures and
 * permanent failures.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { attemptLayer } from "../../src/edge/jobs/attempt.ts";
import { HostFailedError } from "../../src/edge/jobs/host_client.ts";
import { type Answer, DONE, problem, REPORT, RESULT, RUNNING, simulateJob, WEIGHT } from "./simulate_job.ts";

describe("attemptLayer()", () => {
  it("asks for the state of the task until the task is done", async () => {
    const { context, layer, calls, registry } = simulateJob([RUNNING, RUNNING, DONE]);
    await attemptLayer(0, context);
    assert.deepEqual([layer().state, layer().result, layer().attempts], ["done", RESULT, 1]);
    assert.deepEqual(calls, Array(3).fill("POST http://h/base/v1/tasks"));
    assert.equal(registry.choose("other", undefined)!.id, "h");
  });

  it("waits while the host is busy, without counting another attempt", async () => {
    const { context, layer } = simulateJob([problem(429, "busy"), problem(429, "busy"), DONE]);
    await attemptLayer(0, context);
    assert.deepEqual([layer().state, layer().attempts], ["done", 1]);
  });

  const failing: [string, Answer][] = [
    ["a broken connection", () => Promise.reject(new TypeError("connection reset"))],
    ["an answer from another process at the same address", problem(401, "unauthorized")],
    ["a lost device", problem(503, "device_lost")],
    ["a blob that the host cannot read", problem(502, "blob_unavailable")],
    ["an operand that ends early", problem(400, "truncated_body")],
    ["the error page of a proxy", () => new Response("<html>", { status: 524 })],
    ["an answer that is not a task", () => Response.json({ state: "fine" })],
  ];
  for (const [name, answer] of failing) {
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
