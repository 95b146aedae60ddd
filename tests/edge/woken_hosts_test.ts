/** Tests that a job waits for a host that is woken by a request, with simulated answers of the host. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { HostRegistry } from "../../src/edge/hosts/host_registry.ts";
import type { WokenHost } from "../../src/edge/hosts/woken_hosts.ts";
import type { Remote } from "../../src/edge/runtime.ts";
import { attemptLayer } from "../../src/edge/jobs/attempt.ts";
import { HostBusyError } from "../../src/edge/jobs/host_answer.ts";
import { loggedErrors } from "./memory_edge.ts";
import { memorySql } from "./memory_sql.ts";
import { type Answer, DONE, problem, RESULT, RUNNING, simulateJob } from "./simulate_job.ts";

const STARTING = () => new Response(null, { status: 204 });
const UNAVAILABLE = () => new Response("no instance is available yet", { status: 503 });
const REFUSED = () => Promise.reject(new TypeError("connection refused by 10.0.0.1"));
const READY = () => Response.json({ status: "ready" });
const ELSEWHERE = () => new Response(null, { status: 303, headers: { Location: "http://sleeper/later" } });

/** Creates a job with two layers, whose only host is woken by a request, unless `others` has more such hosts. */
function jobOfSleeper(answers: Answer[], ...others: WokenHost[]) {
  const job = simulateJob(answers, 2), hosts = [{ id: "sleeper", url: "http://sleeper/x" }, ...others];
  const registry = new HostRegistry(memorySql(), job.context.now, () => hosts);
  return { ...job, context: { ...job.context, hosts: registry as unknown as Remote<HostRegistry> } };
}

const PING = "GET http://sleeper/x/ping", TASK = "POST http://sleeper/x/v1/tasks";

describe("attemptLayer() with a host that is woken by a request", () => {
  it("waits while the host starts, without counting an attempt, and then gives it the layer", async () => {
    const { context, layer, calls } = jobOfSleeper(
      [REFUSED, UNAVAILABLE, ELSEWHERE, STARTING, READY, RUNNING, DONE],
    );
    assert.deepEqual(await loggedErrors(() => attemptLayer(0, context)), []);
    const { state, result, attempts, host } = layer();
    assert.deepEqual([state, result, attempts, host], ["done", RESULT, 1, "sleeper"]);
    assert.deepEqual(calls, [PING, PING, PING, PING, PING, TASK, TASK]);
  });

  it("ends with an error that names the host if it does not start in time. The log has the reason", async () => {
    const { context, layer, calls } = jobOfSleeper(Array(99).fill(UNAVAILABLE));
    const logged = await loggedErrors(() => attemptLayer(0, context));
    assert.deepEqual(layer().error, { code: "no_device", detail: "host sleeper did not start within 5 s" });
    assert.equal(layer().attempts, 1);
    assert.deepEqual(logged.map((line) => JSON.parse(line)), [{
      job: "job",
      layer: 0,
      host: "http://sleeper/x",
      error: "GET /ping was answered with status 503",
    }]);
    assert.ok(calls.length > 2 && calls.every((call) => call === PING));
  });

  it("tries the other hosts while one of them starts or never does", async () => {
    const other = { id: "other", url: "http://other" };
    const { context, layer, calls } = jobOfSleeper([REFUSED, READY, DONE], other);
    await attemptLayer(0, context);
    assert.deepEqual([layer().state, layer().attempts, layer().host], ["done", 1, "other"]);
    assert.deepEqual(calls, [PING, "GET http://other/ping", "POST http://other/v1/tasks"]);
  });

  it("asks the host that was starting again if another host is busy", async () => {
    const other = { id: "other", url: "http://other" };
    const { context, layer } = jobOfSleeper([STARTING, READY, problem(503, "busy"), READY, DONE], other);
    await attemptLayer(0, context);
    assert.deepEqual([layer().state, layer().attempts, layer().host], ["done", 1, "sleeper"]);
  });

  it("lets another attempt follow if one host is busy and the other one does not start", async () => {
    const answers = Array(9).fill([STARTING, READY, problem(503, "busy")]).flat();
    const { context, layer } = jobOfSleeper(answers, { id: "other", url: "http://other" });
    await loggedErrors(() => assert.rejects(attemptLayer(0, context), HostBusyError));
    assert.deepEqual([layer().state, layer().attempts], ["running", 1]);
  });

  it("sends one request for all layers that wait for a host, because a Worker waits for few answers", async () => {
    const { context, calls, record } = jobOfSleeper([READY, DONE, DONE]);
    await Promise.all([attemptLayer(0, context), attemptLayer(1, context)]);
    assert.equal(record.read()!.job.state, "done");
    assert.deepEqual(calls, [PING, TASK, TASK]);
  });

  it("stops waiting when the job is cancelled", async () => {
    const job = jobOfSleeper([STARTING, () => (job.record.cancel(), STARTING())]);
    await attemptLayer(0, job.context);
    assert.deepEqual([job.layer().error?.code, job.calls.length], ["cancelled", 2]);
  });
});
