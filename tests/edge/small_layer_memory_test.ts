/**
 * Tests the memory that the edge (Pare's Cloudflare Worker) uses for layers that it solves itself, outside the
 * Workers runtime.
 */

import assert from "node:assert/strict";
import { before, describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import { smallLayers } from "../../src/edge/small_layers.ts";
import type { EdgeApp } from "../../src/edge/bindings.ts";
import { MAX_SMALL_BYTES } from "../../src/edge/settings.ts";
import { loggedErrors } from "./memory_edge.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);
const KERNELS = new URL("../../build/kernels_single.wasm", import.meta.url);

describe("the memory of an edge that solves small layers", () => {
  let edge: EdgeApp;
  before(async () => {
    edge = createEdge({ smallLayers: smallLayers(await WebAssembly.compile(await Deno.readFile(KERNELS))) });
  });

  /** Sends a layer whose body has `length` bytes and comes from `body`. */
  const send = async (body: BodyInit, length: number) =>
    await edge.request("/v1/layers", {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream", "Content-Length": String(length) },
      body,
    }, { EDGE_OPEN: "true", EDGE_SOLVE: "true" });

  it("answers busy while the bodies in memory use its budget, and serves again when they have ended", async () => {
    const layer = await Deno.readFile(LAYER), uploads: ReadableStreamDefaultController[] = [];
    const slow = [1, 2].map(() =>
      send(new ReadableStream({ start: (body) => void uploads.push(body) }), MAX_SMALL_BYTES)
    );
    // The two requests must have taken their bytes before the third one arrives.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const refused = await send(layer, layer.length);
    assert.deepEqual([refused.status, (await refused.json()).code], [429, "busy"]);
    assert.equal(refused.headers.get("Retry-After"), "1");
    const logged = await loggedErrors(async () => {
      uploads[0].error(new TypeError("Network connection lost."));
      uploads[1].close();
      for (const response of await Promise.all(slow)) {
        assert.deepEqual([response.status, (await response.json()).code], [400, "truncated_body"]);
      }
    });
    assert.deepEqual(logged, [], "a client that disconnects is not a fault of the edge");
    assert.equal((await send(layer, layer.length)).status, 200);
  });
});
