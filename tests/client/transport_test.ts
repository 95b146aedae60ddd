/** Tests how the SDK sends requests: their headers, which requests are repeated and after what pause, and how an abort ends them. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ConnectionError, MalformedAnswerError, PareError } from "../../src/client/errors.ts";
import { Transport, type TransportOptions } from "../../src/client/transport.ts";
import { type Answer, FakeHost, noContent, problem } from "./fake_host.ts";

const PUT = { method: "PUT", path: "/v1/things/1", body: [Uint8Array.of(1, 2), Uint8Array.of(3)] } as const;

function transport(host: FakeHost, options: Partial<TransportOptions> = {}): Transport {
  return new Transport({ baseUrl: "http://fake", fetch: host.fetch, backoffMs: 1, ...options });
}

const refusedConnection: Answer = () => {
  throw new TypeError("error sending request from 127.0.0.1:1 for http://fake: connection closed");
};

describe("Transport request", () => {
  it("has the API key, the media type and the length of all body parts", async () => {
    const host = new FakeHost(noContent);
    await transport(host, { apiKey: "secret" }).send(PUT);
    const [{ headers, body }] = host.received;
    assert.equal(headers.get("Authorization"), "Bearer secret");
    assert.equal(headers.get("Content-Type"), "application/vnd.safetensors");
    assert.equal(headers.get("Content-Length"), "3");
    assert.deepEqual(body, Uint8Array.of(1, 2, 3));
  });

  it("passes the parts of its body to an application in this process as they are", async () => {
    const chunks: Uint8Array[] = [], lengths: (string | null)[] = [];
    const application = async ({ headers, body }: Request) => {
      lengths.push(headers.get("Content-Length"));
      for await (const chunk of body!) chunks.push(chunk);
      return new Response();
    };
    await new Transport({ baseUrl: "http://in-process", application }).send(PUT);
    assert.deepEqual(lengths, ["3"]);
    assert.equal(chunks.length, 2);
    for (const [i, chunk] of chunks.entries()) assert.equal(chunk, PUT.body[i]);
  });

  it("keeps the path of the base URL, whether or not the URL ends with a slash", async () => {
    for (const baseUrl of ["http://fake/edge", "http://fake/edge/"]) {
      const host = new FakeHost(noContent);
      const query = new URLSearchParams({ pattern: "2:4" });
      await transport(host, { baseUrl }).send({ method: "GET", path: "/v1/x", query });
      assert.deepEqual(host.log, ["GET /edge/v1/x?pattern=2%3A4"]);
    }
  });

  it("rejects a base URL that is neither http nor https", () => {
    for (const baseUrl of ["", "localhost:8787", "ftp://host"]) {
      assert.throws(() => new Transport({ baseUrl }), /must be an http or https URL/);
    }
  });
});

describe("Transport retries", () => {
  for (const status of [408, 429, 502, 503, 504]) {
    it(`repeats a request after ${status}, with the whole body`, async () => {
      const host = new FakeHost(problem(status, "busy"), problem(status, "busy"), noContent);
      await transport(host).send(PUT);
      assert.deepEqual(host.received.map(({ body }) => body.length), [3, 3, 3]);
    });
  }

  it("repeats a request after a broken connection", async () => {
    const host = new FakeHost(refusedConnection, noContent);
    await transport(host).send(PUT);
    assert.equal(host.received.length, 2);
  });

  it("repeats a request if the body is shorter or longer than its Content-Length", async () => {
    for (const declared of [5, 3]) {
      const headers = { "Content-Length": String(declared) };
      const host = new FakeHost(() => new Response("four", { headers }), () => new Response("whole"));
      const body = await transport(host).send({ method: "GET", path: "/" });
      assert.equal(new TextDecoder().decode(body), "whole");
    }
  });

  it("does not use Content-Length as the length of a compressed body", async () => {
    const headers = { "Content-Length": "2", "Content-Encoding": "gzip" };
    const host = new FakeHost(() => new Response("longer", { headers }));
    assert.equal((await transport(host).send({ method: "GET", path: "/" })).length, 6);
  });

  it("reports each failure that is retried with its pause, but not the last failure", async () => {
    const reported: [string, boolean][] = [];
    const onRetry: TransportOptions["onRetry"] = ({ message }, waitMs) =>
      reported.push([message, waitMs > 0]);
    const host = new FakeHost(refusedConnection, problem(429, "busy"));
    await assert.rejects(transport(host, { retries: 2, onRetry }).send(PUT), PareError);
    assert.equal(reported.length, 2);
    assert.match(reported[0][0], /connection closed/);
    assert.deepEqual(reported[1], ["busy (429): detail of busy", true]);
  });

  it("throws the last refusal after all retries", async () => {
    const host = new FakeHost(problem(429, "busy"));
    await assert.rejects(transport(host, { retries: 2 }).send(PUT), { name: "PareError", code: "busy" });
    assert.equal(host.received.length, 3);
  });

  it("throws a ConnectionError with the URL and the cause if the host cannot be reached", async () => {
    const host = new FakeHost(refusedConnection);
    await assert.rejects(transport(host, { retries: 1 }).send(PUT), (error) => {
      assert.ok(error instanceof ConnectionError && error.cause instanceof TypeError);
      assert.match(error.message, /^http:\/\/fake: .*connection closed/);
      return true;
    });
    assert.equal(host.received.length, 2);
  });

  for (const status of [400, 401, 404, 409, 413, 422, 500]) {
    it(`does not repeat a request after ${status}`, async () => {
      const host = new FakeHost(problem(status, "not_found"));
      await assert.rejects(transport(host).send(PUT), PareError);
      assert.equal(host.received.length, 1);
    });
  }
});

describe("Transport with an answer that is not one of Pare", () => {
  it("does not follow redirects, so that neither the layer nor the key reaches another server", async () => {
    const elsewhere: string[] = [], address = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    const other = Deno.serve(address, ({ url }) => {
      elsewhere.push(url);
      return new Response();
    });
    for (const status of [301, 302, 303, 307, 308]) {
      const Location = `http://127.0.0.1:${other.addr.port}/v1/things/1`;
      const host = Deno.serve(address, () => new Response(null, { status, headers: { Location } }));
      const baseUrl = `http://127.0.0.1:${host.addr.port}`;
      await assert.rejects(new Transport({ baseUrl, apiKey: "secret" }).send(PUT), {
        name: "MalformedAnswerError",
        message: new RegExp(`^${baseUrl}: redirects to ${Location}`),
      });
      await host.shutdown();
    }
    await other.shutdown();
    assert.deepEqual(elsewhere, []);
  });

  it("follows status 303 to the result at the same origin, with the key and without the body", async () => {
    const later = (Location: string) => () => new Response(null, { status: 303, headers: { Location } });
    const host = new FakeHost(
      later("http://fake/v1/things/1?call=x"),
      later("/v1/things/1?call=y"),
      () => new Response("result"),
    );
    const result = await transport(host, { apiKey: "secret" }).send(PUT);
    assert.equal(new TextDecoder().decode(result), "result");
    assert.deepEqual(host.log, ["PUT /v1/things/1", "GET /v1/things/1?call=x", "GET /v1/things/1?call=y"]);
    for (const { headers, body } of host.received.slice(1)) {
      assert.deepEqual([headers.get("Authorization"), headers.get("Content-Type"), body.length], [
        "Bearer secret",
        null,
        0,
      ]);
    }
    for (const location of ["https://fake/x", "http://fake:81/x", "http:///"]) {
      const host = new FakeHost(later(location));
      await assert.rejects(transport(host, { apiKey: "secret" }).send(PUT), { name: "MalformedAnswerError" });
      assert.equal(host.received.length, 1, location);
    }
    const circle = new FakeHost(later("/v1/things/1"));
    await assert.rejects(transport(circle).send(PUT), { name: "MalformedAnswerError" });
    assert.equal(circle.received.length, 25);
  });

  it("does not read more than the caller accepts, and does not repeat the request", async () => {
    const endless = () =>
      new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000)) }));
    const declared = () => new Response("x", { headers: { "Content-Length": "1000000000000" } });
    for (const answer of [endless, declared]) {
      const host = new FakeHost(answer);
      await assert.rejects(transport(host).send({ ...PUT, maxAnswerBytes: 5000 }), MalformedAnswerError);
      assert.equal(host.received.length, 1);
    }
  });

  it("says that the server does not answer in HTTP, without another attempt", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let connections = 0;
    const answering = (async () => {
      for await (const connection of listener) {
        connections++;
        await connection.write(new TextEncoder().encode("SSH-2.0-OpenSSH_10.0\r\n"));
        await connection.read(new Uint8Array(2000)).catch(() => {});
        connection.close();
      }
    })();
    const { port } = listener.addr as Deno.NetAddr;
    const baseUrl = `http://127.0.0.1:${port}`;
    await assert.rejects(new Transport({ baseUrl }).send({ method: "GET", path: "/readyz" }), {
      name: "ConnectionError",
      isTransient: false,
      message: /does not answer in HTTP/,
    });
    listener.close();
    await answering.catch(() => {});
    assert.equal(connections, 1);
  });

  it("does not repeat a request to a port to which the runtime sends none", async () => {
    const onRetry = () => assert.fail("the request was repeated");
    await assert.rejects(new Transport({ baseUrl: "http://127.0.0.1:6000", onRetry }).send(PUT), {
      name: "ConnectionError",
      isTransient: false,
      message: /sends no requests to this port/,
    });
  });
});

describe("Transport in a page", () => {
  const failing: Answer = () => {
    throw new TypeError("Failed to fetch");
  };

  /** Runs `body` as if this process were a browser that shows a page of http://page. */
  async function inPage(body: () => Promise<void>): Promise<void> {
    const page = { document: {}, location: { origin: "http://page" } };
    for (const [name, value] of Object.entries(page)) {
      Object.defineProperty(globalThis, name, { value, configurable: true });
    }
    try {
      await body();
    } finally {
      for (const name of Object.keys(page)) delete (globalThis as Record<string, unknown>)[name];
    }
  }

  it("does not repeat a request that another server never answered, and names PARE_CORS_ORIGINS", () =>
    inPage(async () => {
      const host = new FakeHost(failing);
      await assert.rejects(transport(host).send(PUT), {
        name: "ConnectionError",
        message: /PARE_CORS_ORIGINS of the server must contain http:\/\/page$/,
      });
      assert.equal(host.received.length, 1);
    }));

  it("repeats requests to its own server, and to a server that has answered before", () =>
    inPage(async () => {
      const own = new FakeHost(failing, noContent), other = new FakeHost(noContent, failing, noContent);
      await transport(own, { baseUrl: "http://page" }).send(PUT);
      const client = transport(other);
      await client.send(PUT);
      await client.send(PUT);
      assert.deepEqual([own.received.length, other.received.length], [2, 3]);
    }));
});

describe("Transport after an answer with Retry-After", () => {
  it("waits for the Retry-After if it is longer than the backoff", async () => {
    const host = new FakeHost(problem(429, "busy", { "Retry-After": "1" }), noContent);
    const started = performance.now();
    await transport(host).send(PUT);
    const waited = performance.now() - started;
    assert.ok(waited >= 995, `waited ${waited} ms`);
  });

  it("throws the refusal at once if the Retry-After is longer than five minutes", async () => {
    const host = new FakeHost(problem(503, "no_device", { "Retry-After": "301" }));
    await assert.rejects(transport(host).send(PUT), { code: "no_device", retryAfter: 301 });
    assert.equal(host.received.length, 1);
  });
});

describe("Transport with an abort signal", () => {
  const reason = new Error("enough");

  /** Aborts after 20 ms and asserts that `send` rejects with the signal's reason within a second. */
  async function assertAborts(host: FakeHost, backoffMs = 60_000): Promise<void> {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    const started = performance.now();
    const sending = transport(host, { backoffMs }).send({ ...PUT, signal: controller.signal });
    await assert.rejects(sending, (error) => error === reason);
    assert.ok(performance.now() - started < 1000);
    assert.equal(host.received.length, 1);
  }

  it("stops waiting for a host that never answers, and pauses of the client and of a Retry-After", async () => {
    await assertAborts(new FakeHost(() => new Promise(() => {})));
    await assertAborts(new FakeHost(problem(429, "busy")));
    await assertAborts(new FakeHost(problem(429, "busy", { "Retry-After": "60" })), 1);
  });

  it("sends no request if the signal is aborted before the call", async () => {
    const host = new FakeHost(noContent);
    const sending = transport(host).send({ ...PUT, signal: AbortSignal.abort(reason) });
    await assert.rejects(sending, (error) => error === reason);
    assert.equal(host.received.length, 0);
  });
});
