/** One attempt at a layer, with the hosts' answers played here: what is waited for, what is tried again, and what is final. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { attemptLayer } from "../../src/edge/jobs/attempt.ts";
import { HostFailedError } from "../../src/edge/jobs/host_client.ts";
import { type Answer, DONE, problem, REPORT, RESULT, RUNNING, WEIGHT, world } from "./job_world.ts";

describe("an attempt at a layer", () => {
  it("asks after the task until it is done", async () => {
    const { tools, layer, calls, registry } = world([RUNNING, RUNNING, DONE]);
    await attemptLayer(0, tools);
    assert.deepEqual([layer().state, layer().result, layer().attempts], ["done", RESULT, 1]);
    assert.deepEqual(calls, Array(3).fill("POST http://h/base/v1/tasks"));
    assert.equal(registry.choose("other", undefined)!.id, "h");
  });

  it("waits for a place, at no cost of an attempt", async () => {
    const { tools, layer } = world([problem(429, "busy"), problem(429, "busy"), DONE]);
    await attemptLayer(0, tools);
    assert.deepEqual([layer().state, layer().attempts], ["done", 1]);
  });

  const failing: [string, Answer][] = [
    ["a connection that breaks", () => Promise.reject(new TypeError("connection reset"))],
    ["another process at the address", problem(401, "unauthorized")],
    ["a lost device", problem(503, "device_lost")],
    ["a blob that does not come", problem(502, "blob_unavailable")],
    ["a body that breaks off", problem(400, "truncated_body")],
    ["a proxy's page", () => new Response("<html>", { status: 524 })],
    ["an answer that is none", () => Response.json({ state: "fine" })],
  ];
  for (const [name, answer] of failing) {
    it(`is worth another after ${name}, and the host is not chosen before it tells of itself`, async () => {
      const { tools, layer, registry, beat } = world([RUNNING, answer, DONE]);
      await assert.rejects(attemptLayer(0, tools), HostFailedError);
      assert.equal(layer().state, "running");
      assert.equal(registry.choose("other", undefined), undefined);
      beat();
      await attemptLayer(0, tools);
      assert.deepEqual([layer().state, layer().attempts], ["done", 2]);
    });
  }

  it("is worth another when the answer is not where it belongs", async () => {
    const short = () =>
      Response.json({ state: "done", report: REPORT, result: { sha256: RESULT, bytes: 8 } });
    await assert.rejects(attemptLayer(0, world([short]).tools), /did not write the 8 bytes/);
  });

  it("takes what a host refuses, and a blob that is not there, as final", async () => {
    const refused = world([problem(422, "not_positive_definite")]);
    await attemptLayer(0, refused.tools);
    assert.deepEqual(refused.layer().error, {
      code: "not_positive_definite",
      detail: "not_positive_definite it is",
    });
    const { tools, layer } = world([]);
    await attemptLayer(0, { ...tools, blobs: { ...tools.blobs, readUrl: () => Promise.resolve(undefined) } });
    assert.deepEqual(layer().error, { code: "not_found", detail: `blob ${WEIGHT} is not stored` });
  });

  it("waits for a host to be alive, and then fails naming it", async () => {
    const { tools, layer, registry, clock } = world([]);
    registry.deregister("h");
    await attemptLayer(0, tools);
    assert.deepEqual(layer().error, { code: "no_device", detail: "no GPU host was alive for 5 s" });
    assert.ok(clock.now > 5000);
  });

  it("ends the task at the host when nobody wants it any longer", async () => {
    const { tools, layer, record, calls } = world([
      () => {
        record.cancel();
        return RUNNING();
      },
      () => new Response(null, { status: 204 }),
    ]);
    await attemptLayer(0, tools);
    assert.equal(layer().error?.code, "cancelled");
    assert.deepEqual(calls.at(-1), "DELETE http://h/base/v1/tasks/job.0.1");
    await attemptLayer(0, tools);
    assert.equal(calls.length, 2, "a settled layer is left alone");
  });

  it("gives a host up that takes half an hour", async () => {
    const { tools, calls } = world([...Array(400).fill(RUNNING)]);
    await assert.rejects(attemptLayer(0, tools), /took more than 30 minutes/);
    assert.match(calls.at(-1)!, /^DELETE/);
  });
});
