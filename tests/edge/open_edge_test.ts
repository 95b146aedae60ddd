/**
 * An edge (Pare's Cloudflare Worker) that serves without keys on the user's machine answers only requests that name this machine. Otherwise
 * a page of the internet could point its own name to it.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { startDevEdge } from "./local_edge.ts";
import { hexOf } from "./memory_edge.ts";

/** Sends `GET target` with this Host header. Returns the status and the code of the problem. */
async function get(url: string, host: string, target: string): Promise<[status: number, code?: string]> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const request = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  await connection.write(new TextEncoder().encode(request));
  const answer = await new Response(connection.readable).text();
  return [Number(answer.split(" ", 2)[1]), /"code":"(\w+)"/.exec(answer)?.[1]];
}

const TARGETS = ["/healthz", "/", "/jobs", "/v1/jobs", "/v1/hosts", "/metrics", "/openapi.json"];

describe("an edge with EDGE_OPEN", () => {
  it("answers only names of loopback and those of PARE_HOSTS", async () => {
    const edge = await startDevEdge({ EDGE_SOLVE: "true", PARE_HOSTS: "box.example" });
    try {
      for (const name of ["localhost", "127.0.0.1:9", "[::1]", "box.example"]) {
        assert.equal((await get(edge.url, name, "/v1/hosts"))[0], 200, name);
      }
      for (const name of ["evil.example", "localhost.evil.example", "evil.example:8787"]) {
        for (const target of TARGETS) {
          assert.deepEqual(await get(edge.url, name, target), [400, "invalid_host"], `${name} ${target}`);
        }
      }
    } finally {
      await edge.close();
    }
  });

  it("answers every name if it has keys", async () => {
    const edge = await startDevEdge({ PARE_KEYS: await hexOf("mine") });
    try {
      assert.deepEqual(await get(edge.url, "edge.example", "/v1/hosts"), [401, "unauthorized"]);
    } finally {
      await edge.close();
    }
  });
});
