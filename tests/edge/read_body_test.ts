/** Tests how the edge reads a body: to its end, and what it answers to a body that is late or ends early. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Hono } from "hono";
import type { EdgeEnv } from "../../src/edge/bindings.ts";
import { readBody } from "../../src/edge/requests/read_body.ts";
import type { Refusal } from "../../src/protocol/refusal.ts";

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
