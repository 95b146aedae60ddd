/** Tests what a Listener does with a client that does not take its answer. `tests/attacks/connections_test.ts` tests all other limits. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DEFAULT_CONNECTION_LIMITS, Listener } from "../../src/host/listener.ts";

/** Requests an endless answer and reads none of it. Returns whether the connection is closed after three times the limit for answers. */
async function isClosed(isPaced: boolean): Promise<boolean> {
  const listener = new Listener({
    hostname: "127.0.0.1",
    port: 0,
    limits: { ...DEFAULT_CONNECTION_LIMITS, answerMilliseconds: 200 },
    handler: () =>
      Promise.resolve(
        new Response(
          new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(2 ** 16)) }),
        ),
      ),
    isPaced: () => isPaced,
    log: () => {},
    clock: () => performance.now(),
  });
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.port });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  await new Promise((resolve) => setTimeout(resolve, 600));
  const closed = listener.connections === 0;
  connection.close();
  listener.abort();
  await listener.close();
  return closed;
}

describe("a listener", () => {
  it("closes the connection of a client that does not take its answer", async () => {
    assert.equal(await isClosed(false), true);
  });

  it("leaves an answer alone that has a minimum rate of its own", async () => {
    assert.equal(await isClosed(true), false);
  });
});
