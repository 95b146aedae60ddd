/**
 * Tests that a layer of 300 MB is uploaded in parts, although one part fails twice, and is then pruned by a
 * job. The edge (Pare's Cloudflare Worker) and a host run on this machine.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { after, describe, it } from "@std/testing/bdd";
import { startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { Jobs } from "../../src/client/jobs/jobs.ts";
import { Pare } from "../../src/client/pare.ts";
import { Uploads } from "../../src/client/jobs/uploads.ts";
import { file, floats } from "../layer/bodies.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const ROWS = 7500, COLS = 10_000;

/** The number of the part that fails twice. */
const PART = 3;

/** Returns random weights with a period that is coprime to the sizes of rows and parts, so that no two parts are equal. */
function weights(): Float32Array {
  const block = normals(1_000_003, 1);
  return Float32Array.from({ length: ROWS * COLS }, (_, index) => block[index % block.length]);
}

/** Sends half of a part and then fails like a lost connection. */
async function sendHalf(request: Request): Promise<Response> {
  const bytes = await request.bytes(), half = bytes.subarray(0, bytes.length / 2);
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(half);
    },
    pull() {
      throw new TypeError("connection lost");
    },
  });
  return await fetch(request.url, { method: "PUT", body });
}

const folder = temporaryFolder();

const pair = await startEdgeWithHost({ backend: "cpu", folder });
after(() => pair[Symbol.asyncDispose]());

describe("a layer of 300 MB", () => {
  it("is uploaded although a part fails twice, and its job gives the same answer as the host", async () => {
    const attempts: Record<string, number> = {};
    const unreliable = async (request: Request): Promise<Response> => {
      const number = new URL(request.url).searchParams.get("partNumber");
      if (request.method !== "PUT" || number === null) return await fetch(request);
      attempts[number] = (attempts[number] ?? 0) + 1;
      if (Number(number) === PART && attempts[number] === 1) return await sendHalf(request);
      if (Number(number) === PART && attempts[number] === 2) return new Response("busy", { status: 503 });
      return await fetch(request);
    };
    const edge = { baseUrl: pair.edge.url, backoffMs: 1, fetch: unreliable };
    const weight = floats("F32", [ROWS, COLS], weights()), body = file({ weight });
    const digest = await new Uploads(edge).uploadBlob(body);
    assert.equal(digest, `sha256:${createHash("sha256").update(body).digest("hex")}`);
    assert.deepEqual(attempts, { 1: 1, 2: 1, 3: 3, 4: 1, 5: 1 });

    const jobs = new Jobs(edge), query = { method: "magnitude", pattern: "2:4", error: false } as const;
    const { id } = await jobs.submit([{ name: "layer", weight: digest, parameters: query }]);
    for await (const layer of jobs.follow(id, { pollMs: 100, signal: AbortSignal.timeout(120_000) })) {
      assert.deepEqual([layer.state, layer.attempts, layer.error], ["done", 1, null]);
      const viaEdge = await jobs.result(layer);
      const direct = await new Pare({ baseUrl: pair.host.url }).pruneLayer({ weight }, query);
      for (const name of ["weight", "mask"] as const) {
        assert.deepEqual(viaEdge[name].shape, direct[name].shape);
        assert.equal(Buffer.compare(viaEdge[name].data, direct[name].data), 0, `${name}s differ`);
      }
      assert.equal(viaEdge.report.zeros, ROWS * COLS / 2);
    }
  });
});
