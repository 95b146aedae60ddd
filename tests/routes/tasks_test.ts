/** Tests tasks: their answers, their authorisation and their end. `task_transfers_test.ts` tests what they read from and write to a blob store. */

import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "@std/testing/bdd";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { signTicket } from "../../src/protocol/tickets.ts";
import { file, floats } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { answerOf, startHost } from "./host.ts";
import {
  codeOf,
  COLS,
  HESSIAN,
  HOST_ID,
  SECRET,
  type SendOptions,
  startTaskHosts,
  VALIDATED_HESSIAN,
  VALIDATED_LAYER,
  WEIGHT,
  WHOLE_LAYER,
} from "./task_hosts.ts";
import { assertSame } from "../support/assert_same.ts";

const hosts = await startTaskHosts();
after(() => hosts.close());

describe("tasks", () => {
  beforeEach(() => hosts.resetStore());

  it("write the answer of POST /v1/layers, and return its digest and report", async () => {
    const response = await hosts.send(await hosts.taskOf());
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    const written = hosts.store.blobs.get("/result")!;
    assert.deepEqual(answer.result, { sha256: formatDigest(await sha256(written)), bytes: written.length });
    const { weight, mask, report } = await answerOf(new Response(written));
    assert.deepEqual(answer.report, report);

    const plain = await startHost();
    try {
      const { sha256: digest } = (await hosts.taskOf()).hessian;
      await (await plain.send("PUT", `/v1/hessians/${digest}`, HESSIAN)).body?.cancel();
      const direct = await answerOf(
        await plain.send("POST", `/v1/layers?sparsity=0.5&hessian=${digest}`, WEIGHT),
      );
      assertSame({ weight, mask }, { weight: direct.weight, mask: direct.mask });
    } finally {
      await plain.close();
    }
  });

  it("fetch statistics once for layers that share them, and reuse their factor", async () => {
    const other = file({ hessian: floats("F32", [COLS, COLS], correlatedHessian(COLS, { seed: 9 })) });
    const hessian = await hosts.putBlob("/other", other);
    const reused = [];
    for (let layer = 0; layer < 2; layer++) {
      const { report } = await (await hosts.send(await hosts.taskOf({ hessian }))).json();
      reused.push(report.factor_reused);
    }
    assert.deepEqual(reused, [false, true]);
    assert.equal(hosts.store.requests.filter((request) => request === "GET /other").length, 1);
  });

  it("solve layers whose statistics exceed the host's store or are in the weight's file", async () => {
    assert.equal((await hosts.send(await hosts.taskOf(), { to: hosts.small })).status, 200);
    const stored = await answerOf(new Response(hosts.store.blobs.get("/result")));
    assert.equal((await hosts.send(await hosts.taskOf())).status, 200);
    const large = await answerOf(new Response(hosts.store.blobs.get("/result")));
    assertSame(stored.weight, large.weight);
    const task = await hosts.taskOf({
      weight: await hosts.putBlob("/whole", WHOLE_LAYER),
      hessian: undefined,
    });
    assert.equal((await hosts.send(task)).status, 200);
    assertSame((await answerOf(new Response(hosts.store.blobs.get("/result")))).weight, large.weight);
  });

  it("use the validation statistics in the file of the statistics or of the weight", async () => {
    const errors = [];
    for (
      const [files, to] of [
        [{ weight: WEIGHT, hessian: VALIDATED_HESSIAN }, hosts.host],
        [{ weight: WEIGHT, hessian: VALIDATED_HESSIAN }, hosts.small],
        [{ weight: VALIDATED_LAYER }, hosts.host],
      ] as const
    ) {
      const weight = await hosts.putBlob("/validated-weight", files.weight);
      const hessian = "hessian" in files ? await hosts.putBlob("/validated", files.hessian) : undefined;
      const answer = await (await hosts.send(await hosts.taskOf({ weight, hessian }), { to })).json();
      errors.push(answer.report.validation_error);
    }
    assert.ok(errors[0] > 0);
    assert.deepEqual(errors, Array(3).fill(errors[0]));
    const { report } = await (await hosts.send(await hosts.taskOf())).json();
    assert.ok(!("validation_error" in report));
  });

  it("run only once if the same task is sent again", async () => {
    const release = Promise.withResolvers<void>(), task = await hosts.taskOf({ hessian: undefined });
    const whole = { ...task, parameters: { method: "magnitude" } };
    hosts.store.faults.push(async () => {
      await release.promise;
      return new Response(WEIGHT);
    });
    const first = await hosts.send(whole, { wait: 0 });
    assert.deepEqual([first.status, await first.json()], [202, { state: "running" }]);
    release.resolve();
    const [second, third] = await Promise.all([hosts.send(whole), hosts.send(whole)]);
    assert.deepEqual([second.status, third.status], [200, 200]);
    assert.deepEqual(await second.json(), await third.json());
    assert.deepEqual(hosts.store.requests, ["GET /weight", "PUT /result"]);
  });

  it("are refused unless their ticket was made for exactly this request", async () => {
    const task = await hosts.taskOf(), text = JSON.stringify(task);
    const refused: SendOptions[] = [
      { ticket: "Bearer key" },
      { ticket: "Pare-Ticket 1.2.3" },
      { signed: text + " " },
      { audience: "another-host" },
      { path: "/v1/tasks/x" },
      { now: Date.now() - 61_000 },
      { now: Date.now() + 120_000 },
    ];
    for (const options of refused) {
      assert.deepEqual(await codeOf(await hosts.send(task, options)), [401, "unauthorized"]);
    }
    const body = new TextEncoder().encode(text);
    const ticket = await signTicket(
      SECRET,
      { audience: HOST_ID, method: "POST", path: "/v1/tasks", body },
      Date.now(),
    );
    assert.equal((await hosts.send(task, { ticket })).status, 200);
    assert.deepEqual(await codeOf(await hosts.send(task, { ticket })), [401, "unauthorized"]);
    const cancel = await hosts.host.request(`/v1/tasks/${task.id}`, { method: "DELETE" });
    assert.deepEqual(await codeOf(cancel), [401, "unauthorized"]);
  });

  it("are refused with 400 if their body is not JSON, or not a task", async () => {
    for (const text of ["", "{", "null", "[1]", '{"id":1}', "\u0000", `{"id":"${"x".repeat(5000)}"}`]) {
      const body = new TextEncoder().encode(text);
      const subject = { audience: HOST_ID, method: "POST", path: "/v1/tasks", body };
      const response = await hosts.host.request("/v1/tasks", {
        method: "POST",
        headers: {
          Authorization: await signTicket(SECRET, subject, Date.now()),
          "Content-Type": "application/json",
          "Content-Length": String(body.length),
        },
        body,
      });
      assert.deepEqual(await codeOf(response), [400, "invalid_parameter"], text.slice(0, 20));
    }
  });

  it("are refused if their body does not arrive", async () => {
    const limits = { bodyWindowMilliseconds: 50 };
    const host = await startHost({ edge: { secret: SECRET, hostId: HOST_ID, blobOrigins: [] }, limits });
    const body = new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(10)) });
    const headers = {
      Authorization: "Pare-Ticket 1.2.3",
      "Content-Type": "application/json",
      "Content-Length": "100",
    };
    const response = await host.request("/v1/tasks", { method: "POST", headers, body });
    assert.deepEqual(await codeOf(response), [408, "too_slow"]);
    await host.close();
  });

  it("report why the solve failed, and can be sent again", async () => {
    const negative = correlatedHessian(COLS, { seed: 3 });
    for (let j = 0; j < COLS; j++) negative[j * COLS + j] = -1;
    const hessian = await hosts.putBlob(
      "/negative",
      file({ hessian: floats("F32", [COLS, COLS], negative) }),
    );
    const task = await hosts.taskOf({ hessian });
    assert.deepEqual(await codeOf(await hosts.send(task)), [422, "not_positive_definite"]);
    assert.deepEqual(await codeOf(await hosts.send(task)), [422, "not_positive_definite"]);
    assert.deepEqual(await codeOf(await hosts.send(await hosts.taskOf({ parameters: { sparsity: 2 } }))), [
      400,
      "invalid_parameter",
    ]);
  });

  it("can be cancelled", async () => {
    const task = { ...await hosts.taskOf(), hessian: undefined };
    const release = Promise.withResolvers<void>();
    hosts.store.faults.push(async () => {
      await release.promise;
      return new Response(WEIGHT);
    });
    assert.equal((await hosts.send(task, { wait: 0 })).status, 202);
    const path = `/v1/tasks/${task.id}`;
    const ticket = await signTicket(SECRET, {
      audience: HOST_ID,
      method: "DELETE",
      path,
      body: new Uint8Array(0),
    }, Date.now());
    const response = await hosts.host.request(path, { method: "DELETE", headers: { Authorization: ticket } });
    assert.equal(response.status, 204);
    assert.deepEqual(await codeOf(await hosts.send(task)), [404, "not_found"]);
    release.resolve();
  });

  it("are answered with 404 by a host without an edge", async () => {
    const plain = await startHost();
    try {
      assert.equal((await hosts.send(await hosts.taskOf(), { to: plain })).status, 404);
    } finally {
      await plain.close();
    }
  });
});
