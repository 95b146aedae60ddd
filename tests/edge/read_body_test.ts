/** Tests how the edge (Pare's Cloudflare Worker) reads a body: to its end, and what it answers to a body that is late or ends early. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { mock } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Hono } from "hono";
import type { EdgeEnv } from "../../src/edge/bindings.ts";
import { readBody } from "../../src/edge/requests/read_body.ts";
import { EDGE_BODY_SECONDS } from "../../src/protocol/limits.ts";
import type { Refusal } from "../../src/protocol/refusal.ts";
import { memoryEdge } from "./memory_edge.ts";

const LENGTH = 5, LIMIT = 50;

/** Sends `bytes`, and then either ends the body or sends nothing more. Returns what `readBody` returns or throws. */
async function read(bytes: Uint8Array<ArrayBuffer>, ends: boolean): Promise<unknown> {
  const app = new Hono<EdgeEnv>();
  let outcome: unknown;
  app.post("/", async (c) => {
    outcome = await readBody(c, LENGTH, LIMIT).catch((error) => error);
    return c.text("");
  });
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      controller.enqueue(bytes);
      if (ends) controller.close();
    },
  });
  await app.request("/", { method: "POST", body });
  return outcome;
}

describe("readBody()", () => {
  it("returns the whole body", async () => {
    assert.deepEqual(await read(Uint8Array.of(1, 2, 3, 4, 5), true), Uint8Array.of(1, 2, 3, 4, 5));
  });

  it("refuses a body that is late as too_slow, which clients repeat", async () => {
    const refusal = await read(Uint8Array.of(1, 2), false) as Refusal;
    assert.deepEqual([refusal.code, refusal.message], ["too_slow", "after 0.05 s 2 of 5 bytes have arrived"]);
  });

  it("refuses a body that ends early as truncated_body", async () => {
    const refusal = await read(Uint8Array.of(1, 2), true) as Refusal;
    assert.deepEqual([refusal.code, refusal.message], ["truncated_body", "2 of 5 bytes have arrived"]);
  });
});

describe("a JSON body that stops in the middle", () => {
  const id = crypto.randomUUID();
  const requests = [
    "POST /v1/jobs",
    "POST /v1/uploads",
    `POST /v1/uploads/${id}/complete`,
    "PUT /v1/hosts/h",
  ];
  for (const request of requests) {
    it(`is refused after ${EDGE_BODY_SECONDS} seconds: ${request.replace(id, "ID")}`, async () => {
      const { edge, env } = await memoryEdge({ EDGE_HOST_SECRET: "a secret of thirty-two bytes: 123" });
      const [method, path] = request.split(" "), isRead = Promise.withResolvers<void>();
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(Uint8Array.of(0x7b)),
        pull: () => isRead.resolve(),
      }, { highWaterMark: 0 });
      const headers = {
        "Authorization": "Bearer one",
        "Content-Type": "application/json",
        "Content-Length": "100",
      };
      mock.timers.enable({ apis: ["setTimeout"] });
      const answering = edge.request(path, { method, headers, body }, env);
      await isRead.promise;
      mock.timers.tick(EDGE_BODY_SECONDS * 1000);
      mock.timers.reset();
      const answer = await Promise.race([answering, setImmediate()]);
      assert.ok(answer, "the request is still open");
      const { code, detail } = await answer.json();
      assert.deepEqual([answer.status, code], [408, "too_slow"]);
      assert.equal(detail, `after ${EDGE_BODY_SECONDS} s 1 of 100 bytes have arrived`);
    });
  }
});
