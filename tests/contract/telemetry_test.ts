/** Tests that Deno's own OpenTelemetry describes the requests of a host, as the page of the deployment says. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { startHost } from "../../scripts/processes/child_host.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);

/** A collector of telemetry. It stores the bodies of the requests that it receives, by path. */
interface Collector {
  readonly url: string;
  readonly bodies: Map<string, string[]>;
  close(): Promise<void>;
}

function startCollector(): Collector {
  const bodies = new Map<string, string[]>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    bodies.set(pathname, [...bodies.get(pathname) ?? [], await request.text()]);
    return Response.json({});
  });
  return { url: `http://127.0.0.1:${server.addr.port}`, bodies, close: () => server.shutdown() };
}

describe("a host with OTEL_DENO=true", () => {
  let collector: Collector;
  before(() => {
    collector = startCollector();
  });
  after(() => collector.close());

  it("sends a span and the duration of each request, and its log, at the latest when it stops", async () => {
    const host = await startHost(["--backend", "cpu"], {
      OTEL_DENO: "true",
      OTEL_SERVICE_NAME: "pare-host",
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    });
    try {
      const headers = { "Content-Type": "application/vnd.safetensors", "X-Request-Id": "traced-1" };
      const body = await Deno.readFile(LAYER);
      const answer = await fetch(`${host.url}/v1/layers`, { method: "POST", headers, body });
      assert.equal(answer.status, 200);
      await answer.body?.cancel();
    } finally {
      await host[Symbol.asyncDispose]();
    }
    const received = (path: string) => (collector.bodies.get(path) ?? []).join("\n");
    assert.match(received("/v1/traces"), /"url\.path"[^}]*"\/v1\/layers"/);
    assert.match(received("/v1/traces"), /"pare-host"/);
    assert.match(received("/v1/metrics"), /"http\.server\.request\.duration"/);
    assert.match(received("/v1/logs"), /traced-1/);
  });
});
