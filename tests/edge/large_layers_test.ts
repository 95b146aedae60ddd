/**
 * Tests that the SDK prunes a layer over the body limit of an edge by an upload and a job. The edge, which is
 * Pare's Cloudflare Worker in front of GPU hosts, runs in the real Workers runtime, with a real host.
 */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { Pare } from "../../src/client/pare.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { SECRET, startEdgeHost, until } from "./edge_hosts.ts";
import { startEdge } from "./local_edge.ts";
import { assertSame } from "../support/assert_same.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);

const edge = await startEdge({ EDGE_BODY_LIMIT: "10000" }, { EDGE_HOST_SECRET: SECRET });
const host = await startEdgeHost(edge.url);
after(async () => {
  await host[Symbol.asyncDispose]();
  await edge.close();
});

describe("a layer over the edge's body limit", () => {
  it("is pruned by a job, and the answer equals that of a host", async () => {
    await until("the host is registered", async () => {
      const { hosts } = await (await edge.request("/v1/hosts")).json();
      return hosts.length > 0 || undefined;
    });
    const { weight, ...rest } = Object.fromEntries(decode(await Deno.readFile(LAYER)).tensors);
    const paths: string[] = [];
    const watch = (request: Request) => {
      paths.push(new URL(request.url).pathname);
      return fetch(request);
    };
    const query = { pattern: "2:4", dtype: "BF16" } as const;
    const viaEdge = await new Pare({ baseUrl: edge.url, fetch: watch }).pruneLayer(
      { weight, ...rest },
      query,
    );
    const direct = await new Pare({ baseUrl: host.url }).pruneLayer({ weight, ...rest }, query);
    assertSame([viaEdge.weight, viaEdge.mask], [direct.weight, direct.mask]);
    assert.equal(viaEdge.report.relative_error, direct.report.relative_error);
    assert.equal(paths[0], "/v1/layers");
    assert.ok(paths.includes("/v1/jobs"));
  });
});
