/** A layer of 300 MB as a client brings it: in parts, one of which breaks off and is then refused; then pruned by a job. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { after, before, describe, it } from "@std/testing/bdd";
import { type EdgeWithHost, startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { Jobs } from "../../src/client/jobs/jobs.ts";
import { Pare } from "../../src/client/pare.ts";
import { Uploads } from "../../src/client/jobs/uploads.ts";
import { file, floats } from "../layer/bodies.ts";
import { normals } from "../support/random.ts";

const ROWS = 7500, COLS = 10_000;

/** The part that fails, twice. */
const PART = 3;

/** Random weights that repeat after a number that is prime to a row's and to a part's: no two parts are the same. */
function weights(): Float32Array {
  const block = normals(1_000_003, 1);
  return Float32Array.from({ length: ROWS * COLS }, (_, index) => block[index % block.length]);
}

/** Sends half of a part and breaks off, as a connection that is lost does. */
async function breakOff(request: Request): Promise<Response> {
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

describe("a layer of 300 MB", { skip: Deno.env.get("PARE_SLOW") !== "1" && "set PARE_SLOW=1" }, () => {
  const running = new AsyncDisposableStack();
  let pair: EdgeWithHost;
  before(async () => {
    const folder = running.adopt(
      await Deno.makeTempDir({ prefix: "pare-test-" }),
      (path) => Deno.remove(path, { recursive: true }),
    );
    pair = running.use(await startEdgeWithHost({ backend: "cpu", folder }));
  });
  after(() => running.disposeAsync());

  it("is brought although a part fails twice, and pruned as by the host alone", async () => {
    const attempts: Record<string, number> = {};
    const unreliable = async (request: Request): Promise<Response> => {
      const number = new URL(request.url).searchParams.get("partNumber");
      if (request.method !== "PUT" || number === null) return await fetch(request);
      attempts[number] = (attempts[number] ?? 0) + 1;
      if (Number(number) === PART && attempts[number] === 1) return await breakOff(request);
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
      const through = await jobs.result(layer);
      const alone = await new Pare({ baseUrl: pair.host.url }).pruneLayer({ weight }, query);
      for (const name of ["weight", "mask"] as const) {
        assert.deepEqual(through[name].shape, alone[name].shape);
        assert.equal(Buffer.compare(through[name].data, alone[name].data), 0, `${name}s differ`);
      }
      assert.equal(through.report.zeros, ROWS * COLS / 2);
    }
  });
});
