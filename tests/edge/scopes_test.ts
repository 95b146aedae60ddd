/**
 * Tests who may call which resource through an edge with keys (Pare's Cloudflare Worker), in front of a host without keys. The edge is then
 * the only server that checks a key.
 */

import { after, before, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { generateDocuments } from "../../scripts/contract/documents.ts";
import { startHostServices } from "../../src/host/host_services.ts";
import { SCOPES } from "../../src/protocol/keys.ts";
import type { ContractDocument } from "../support/documented_answers.ts";
import { createApp } from "../../routes/app.ts";
import { hexOf, memoryEdge } from "./memory_edge.ts";

/**
 * The callers whose requests pass, for each resource of a host or an edge. Each scope is also the name of a key that has only this scope. An
 * edge has no runs of whole models.
 */
const EXPECTED = `
  delete /v1/hessians/{digest}: hessians
  delete /v1/jobs/{id}: jobs
  delete /v1/states/{name}: solve
  delete /v1/uploads/{id}: uploads
  get /healthz: everyone
  get /metrics: metrics
  get /openapi.json: everyone
  get /ping: everyone
  get /readyz: everyone
  get /v1/blobs/{digest}: read
  get /v1/hessians/{digest}: hessians
  get /v1/hosts: metrics
  get /v1/jobs: jobs
  get /v1/jobs/{id}: jobs
  get /v1/states/{name}: solve
  get /v1/uploads/{id}: uploads
  head /v1/blobs/{digest}: read
  head /v1/hessians/{digest}: hessians
  post /v1/blocks/collect: solve
  post /v1/blocks/measure: solve
  post /v1/blocks/prune: solve
  post /v1/blocks/run: solve
  post /v1/blocks/train: solve
  post /v1/jobs: jobs
  post /v1/layers: solve
  post /v1/states/{name}/sums: solve
  post /v1/uploads: uploads
  post /v1/uploads/{id}/complete: uploads
  put /v1/hessians/{digest}: hessians
  put /v1/states/{name}: solve
`;

/** A caller without a key, one with an unknown key, and one with a key for each scope. */
const CALLERS = [undefined, "unknown", ...SCOPES];

describe("an edge with keys in front of a host without keys", () => {
  let host: Deno.HttpServer<Deno.NetAddr>, isOverLimit = false;
  let edge: Awaited<ReturnType<typeof memoryEdge>>, routes: string[];
  /** The requests that the host has received. */
  const received: string[] = [];
  before(async () => {
    const app = createApp(await startHostServices(() => Promise.reject(new Error("no device is needed"))));
    host = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      received.push(`${request.method} ${new URL(request.url).pathname}`);
      return app.fetch(request);
    });
    const keys = await Promise.all(SCOPES.map(async (scope) => `${await hexOf(scope)}:${scope}`));
    edge = await memoryEdge({
      PARE_KEYS: [...keys, await hexOf("all")].join(),
      EDGE_HOST: `http://127.0.0.1:${host.addr.port}`,
      RATE: { limit: () => Promise.resolve({ success: !isOverLimit }) },
    });
    const documents: ContractDocument[] = (await generateDocuments()).map(({ text }) => JSON.parse(text));
    routes = documents.flatMap(({ paths }) =>
      Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method} ${path}`))
    );
    routes = [...new Set(routes)].filter((route) => !route.includes("/v1/runs")).toSorted();
  });
  after(() => host.shutdown());
  beforeEach(() => {
    received.length = 0;
    isOverLimit = false;
  });

  /** Sends a request of the resource `route` with example values in its path. Returns the status and the code of a problem. */
  async function ask(route: string, key?: string): Promise<[status: number, code?: string]> {
    const [method, template] = route.split(" ");
    const path = template.replace("{digest}", `sha256:${"0".repeat(64)}`).replace("{name}", "run")
      .replace("{id}", crypto.randomUUID());
    const headers = new Headers(key === undefined ? {} : { Authorization: `Bearer ${key}` });
    const body = method === "post" || method === "put" ? "{}" : undefined;
    if (body) headers.set("Content-Length", String(body.length));
    const init = { method: method.toUpperCase(), headers, body };
    const response = await edge.edge.request(path, init, edge.env), text = await response.text();
    return [response.status, /"code":"(\w+)"/.exec(text)?.[1]];
  }

  it("lets each resource of the OpenAPI documents be used with its scope only", async () => {
    const lines: string[] = [];
    for (const route of routes) {
      const passing: string[] = [];
      for (const caller of CALLERS) {
        const before = received.length, [status] = await ask(route, caller);
        if (status !== 401 && status !== 403) {
          passing.push(caller ?? "nobody");
          continue;
        }
        assert.equal(received.length, before, `${route} is refused and forwarded`);
        const hasScope = SCOPES.some((scope) => scope === caller);
        assert.equal(status, hasScope ? 403 : 401, `${route} as ${caller}`);
      }
      lines.push(`${route}: ${passing.length === CALLERS.length ? "everyone" : passing.join(", ")}`);
    }
    assert.deepEqual(lines, EXPECTED.trim().split("\n").map((line) => line.trim()));
  });

  it("refuses requests for its own resources if it has no keys", async () => {
    const { send } = await memoryEdge({ PARE_KEYS: "" });
    const { status, body } = await send("POST", "/v1/uploads", { json: { size: 1, sha256: "0".repeat(64) } });
    assert.deepEqual([status, body.code], [401, "unauthorized"]);
  });

  it("counts each request that needs a key against the rate limit, also if the host answers it", async () => {
    isOverLimit = true;
    for (const line of EXPECTED.trim().split("\n")) {
      const [route, caller] = line.trim().split(": ");
      const [status] = await ask(route, "all");
      assert.equal(status === 429, caller !== "everyone", `${route} ${status}`);
    }
  });

  it("forwards no request for a resource that the documents do not have", async () => {
    const paths = [
      "/v1/nothing",
      "/v1/runs",
      "/v1/runs/0",
      "/v1/tasks",
      "/v1/tasks/t",
      "/v1/states",
      "/v1/states/a/b",
      "/v1/blocks/",
      "/v1//blocks",
      "//v1/blocks",
      "/V1/blocks",
      "/v1/%2562locks",
      "/x/../v1/blocks/x",
      "//metrics",
      "/anything",
    ];
    for (const path of paths) {
      for (const method of ["get", "post", "delete"]) {
        assert.deepEqual(await ask(`${method} ${path}`, "all"), [404, "not_found"], `${method} ${path}`);
      }
    }
    assert.deepEqual(received, []);
  });

  it("checks the key of a path that is written with escapes", async () => {
    for (const path of ["/v1/%62locks", "/v1/./blocks", "/v1/%2e%2e/v1/blocks", "/%761/blocks"]) {
      assert.deepEqual(await ask(`post ${path}/run`), [401, "unauthorized"], path);
    }
    assert.deepEqual(received, []);
  });
});
