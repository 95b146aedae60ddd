/** Tests requests of pages of other origins (CORS) to a host, and to an edge in front of it. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import { serve } from "../../routes/serve.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { parseKeys } from "../../src/protocol/keys.ts";

const ALLOWED = "https://app.example.com", OTHER = "https://other.example.com";
const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);

/** The headers that a preflight request of a browser has. */
const PREFLIGHT = {
  "Access-Control-Request-Method": "POST",
  "Access-Control-Request-Headers": "authorization,content-type",
};

const keys = parseKeys((await sha256(new TextEncoder().encode("sesame"))).toHex());
const settings = { backend: "cpu", port: 0, hostname: "127.0.0.1", keys, log: () => {} } as const;
const open = await serve({ ...settings, corsOrigins: [ALLOWED] });
const closed = await serve(settings);
const body = await Deno.readFile(LAYER);
after(async () => {
  await Promise.all([open.shutdown(), closed.shutdown()]);
});

describe("a page of another origin", () => {
  /** The servers that allow the origin, each as a function that sends a request to a path. */
  const servers = (): Record<string, (path: string, init: RequestInit) => Promise<Response>> => ({
    "a host": (path, init) => fetch(open.url + path, init),
    "an edge": async (path, init) =>
      await createEdge().request(path, init, { EDGE_HOST: closed.url, PARE_CORS_ORIGINS: ALLOWED }),
  });

  function layerFrom(origin: string): RequestInit {
    return {
      method: "POST",
      headers: {
        Origin: origin,
        Authorization: "Bearer sesame",
        "Content-Type": "application/vnd.safetensors",
        "Content-Length": String(body.length),
      },
      body,
    };
  }

  it("may ask before it sends a layer, without an API key", async () => {
    for (const [name, send] of Object.entries(servers())) {
      const response = await send("/v1/layers", {
        method: "OPTIONS",
        headers: { Origin: ALLOWED, ...PREFLIGHT },
      });
      assert.equal(response.status, 204, name);
      assert.equal(response.headers.get("Access-Control-Allow-Origin"), ALLOWED, name);
      assert.match(response.headers.get("Access-Control-Allow-Methods")!, /POST/);
      assert.match(response.headers.get("Access-Control-Allow-Headers")!, /Authorization,Content-Type/);
      assert.equal(response.headers.get("Access-Control-Allow-Credentials"), null);
      await response.body?.cancel();
    }
  });

  it("may send a layer and read the report, and reads problems too", async () => {
    for (const [name, send] of Object.entries(servers())) {
      const answer = await send("/v1/layers", layerFrom(ALLOWED));
      assert.equal(answer.status, 200, name);
      assert.equal(answer.headers.get("Access-Control-Allow-Origin"), ALLOWED, name);
      assert.match(answer.headers.get("Vary")!, /Origin/);
      const exposed = answer.headers.get("Access-Control-Expose-Headers")!.split(",");
      for (const header of ["Pare-Report", "Server-Timing", "Retry-After", "X-Request-Id"]) {
        assert.ok(exposed.includes(header), `${name} ${header}`);
      }
      await answer.body?.cancel();
      const refused = await send("/v1/layers?wings=2", layerFrom(ALLOWED));
      assert.deepEqual(
        [refused.status, refused.headers.get("Access-Control-Allow-Origin")],
        [400, ALLOWED],
        name,
      );
      await refused.body?.cancel();
    }
  });

  it("is not allowed if its origin is not listed", async () => {
    for (const [name, send] of Object.entries(servers())) {
      for (
        const init of [layerFrom(OTHER), { method: "OPTIONS", headers: { Origin: OTHER, ...PREFLIGHT } }]
      ) {
        const response = await send("/v1/layers", init);
        assert.equal(response.headers.get("Access-Control-Allow-Origin"), null, name);
        await response.body?.cancel();
      }
    }
  });

  it("is not allowed if the server has no list, and an edge does not use the list of its host", async () => {
    const edge = createEdge();
    const send = [
      (init: RequestInit) => fetch(`${closed.url}/v1/layers`, init),
      (init: RequestInit) => edge.request("/v1/layers", init, { EDGE_HOST: open.url }),
    ];
    for (const to of send) {
      for (
        const init of [layerFrom(ALLOWED), { method: "OPTIONS", headers: { Origin: ALLOWED, ...PREFLIGHT } }]
      ) {
        const response = await to(init);
        assert.equal(response.headers.get("Access-Control-Allow-Origin"), null);
        await response.body?.cancel();
      }
    }
  });
});
