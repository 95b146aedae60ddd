/**
 * Tests what a listener does with a client that does not take its answer, and how the host listens with a Deno that cannot limit connections.
 * `tests/attacks/connections_slow_test.ts` tests all other limits.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { settlesWithin, sleep } from "../../src/base/waiting.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { listen } from "../../src/host/listen.ts";
import { DEFAULT_CONNECTION_LIMITS, type ListenOptions } from "../../src/host/listener.ts";

const OPTIONS: ListenOptions = {
  hostname: "127.0.0.1",
  port: 0,
  limits: DEFAULT_CONNECTION_LIMITS,
  handler: () => Promise.resolve(new Response("answer")),
  isPaced: () => false,
  log: () => {},
  clock: () => performance.now(),
};

/** Requests an endless answer and reads none of it. Returns whether the connection is closed after three times the limit for answers. */
async function isClosed(isPaced: boolean): Promise<boolean> {
  const listener = listen({
    ...OPTIONS,
    limits: { ...DEFAULT_CONNECTION_LIMITS, answerMilliseconds: 200 },
    handler: () =>
      Promise.resolve(
        new Response(
          new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(2 ** 16)) }),
        ),
      ),
    isPaced: () => isPaced,
  });
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.port });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  await sleep(600);
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

describe("a listener that closes", () => {
  it("waits for a client that takes no answer as long as at any other time, and may be aborted meanwhile", async () => {
    const listener = listen({
      ...OPTIONS,
      limits: { ...DEFAULT_CONNECTION_LIMITS, answerMilliseconds: 500 },
      handler: () => Promise.resolve(new Response(new Uint8Array(2e7))),
    });
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.port });
    await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    await sleep(100);
    const closed = listener.close();
    await sleep(100);
    listener.abort();
    assert.ok(await settlesWithin(closed, 5000), "the listener is still open after 5 s");
    connection.close();
  });

  it("ends a connection on which requests follow each other without a pause", async () => {
    const listener = listen({ ...OPTIONS, handler: () => sleep(50).then(() => new Response("answer")) });
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.port });
    const request = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const answers = new Response(connection.readable).text().catch(() => "");
    // Two requests are on their way at any time.
    const sending = setInterval(() => void connection.write(request).catch(() => clearInterval(sending)), 25);
    await sleep(200);
    assert.ok(await settlesWithin(listener.close(), 5000), "the listener is still open after 5 s");
    clearInterval(sending);
    assert.equal(listener.connections, 0);
    // The system drops the answers if the listener leaves a request unread.
    assert.match(await answers, /^HTTP\/1\.1 200|^$/);
  });
});

describe("a listener with a Deno that does not serve HTTP on single connections", () => {
  it("serves all the same, and a warning in its log says which protections are missing", async () => {
    const log: LogEntry[] = [];
    const listener = listen({ ...OPTIONS, log: (entry) => void log.push(entry) }, {});
    const response = await fetch(`http://127.0.0.1:${listener.port}/`);
    assert.deepEqual([response.status, await response.text()], [200, "answer"]);
    const [{ event, deno, missing }, ...others] = log;
    assert.deepEqual([event, deno, others], ["connections not limited", Deno.version.deno, []]);
    assert.match(String(missing), /the number of connections is not limited.*idle.*file descriptor/);
    await listener.close();
    await assert.rejects(fetch(`http://127.0.0.1:${listener.port}/`));
  });

  it("lets a running request finish when it is closed, and ends it when it is aborted", async () => {
    for (const ending of ["close", "abort"] as const) {
      const started = Promise.withResolvers<void>(), answer = Promise.withResolvers<Response>();
      const handler = () => (started.resolve(), answer.promise);
      const listener = listen({ ...OPTIONS, handler }, {});
      const outcome = fetch(`http://127.0.0.1:${listener.port}/`).then(
        (response) => response.text(),
        () => "connection lost",
      );
      await started.promise;
      assert.equal(listener.connections, 1);
      const closed = ending === "close" ? listener.close() : listener.abort();
      if (ending === "close") answer.resolve(new Response("finished"));
      assert.equal(await outcome, ending === "close" ? "finished" : "connection lost");
      answer.resolve(new Response());
      await closed;
    }
  });

  it("throws the system's error if the port is in use", () => {
    const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    try {
      assert.throws(() => listen({ ...OPTIONS, port: taken.addr.port }, {}), Deno.errors.AddrInUse);
    } finally {
      taken.close();
    }
  });
});
