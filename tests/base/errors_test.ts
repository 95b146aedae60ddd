/** Tests the words for failed connections, on the errors of real connections and on those of other runtimes. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { connectionReason, isPermanentFailure } from "../../src/base/errors.ts";

/** Returns the reason why a request to `url` fails. */
async function reasonOf(url: string): Promise<string> {
  const error = await fetch(url).then((response) => response.text(), (error) => error);
  return connectionReason(error);
}

/** Listens on a port, sends `answer` to each connection after its first bytes, and closes it. */
function answering(answer: string): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  void (async () => {
    for await (const connection of listener) {
      await connection.read(new Uint8Array(1000));
      await connection.write(new TextEncoder().encode(answer));
      connection.close();
    }
  })();
  return listener;
}

describe("connectionReason()", () => {
  it("says that a connection is refused, that a name is unknown, or that the server closed the connection", async () => {
    const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = free.addr;
    free.close();
    assert.equal(await reasonOf(`http://127.0.0.1:${port}/`), "connection refused");
    assert.equal(await reasonOf("http://no-such-host.invalid/"), "the name of the server cannot be resolved");
    using closing = answering("");
    assert.equal(await reasonOf(`http://127.0.0.1:${closing.addr.port}/`), "connection closed by the server");
  });

  it("says that a server does not answer in HTTP, which no further attempt changes", async () => {
    const reason = "the server does not answer in HTTP, or in HTTPS if the URL says so";
    using listener = answering("not HTTP\r\n\r\n");
    assert.equal(await reasonOf(`http://127.0.0.1:${listener.addr.port}/`), reason);
    const cause = new Error("client error (SendRequest): invalid content-length parsed");
    assert.ok(isPermanentFailure(new TypeError("fetch failed", { cause })));
    assert.ok(!isPermanentFailure(new TypeError("connection refused")));
  });

  it("leaves the URL out of other messages of Deno", () => {
    const cause = new Error("error sending request for url (http://x/): client error (SendRequest): odd");
    assert.equal(connectionReason(new TypeError("fetch failed", { cause })), "odd");
  });

  it("reads the codes in the causes of Node's errors", () => {
    for (
      const [code, reason] of [
        ["ECONNREFUSED", "connection refused"],
        ["ENOTFOUND", "the name of the server cannot be resolved"],
        ["UND_ERR_CONNECT_TIMEOUT", "the server did not answer in time"],
        ["ECONNRESET", "connection closed by the server"],
      ]
    ) {
      const cause = Object.assign(new Error("connect 127.0.0.1:1"), { code });
      assert.equal(connectionReason(new TypeError("fetch failed", { cause })), reason);
    }
  });

  it("gives the message of the first cause of unknown errors, and the text of values that are not errors", () => {
    assert.equal(connectionReason(new Error("outer", { cause: new Error("inner") })), "inner");
    assert.equal(connectionReason("text"), "text");
  });
});
