/**
 * Tests the SDK with the real server application: in the same process, over HTTP, and over connections that
 * break.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { serve } from "../../routes/serve.ts";
import { openLocalHost } from "../support/local_host.ts";
import { ConnectionError, PareError } from "../../src/client/errors.ts";
import type { LayerTensors, PrunedLayer } from "../../src/client/layer_file.ts";
import { Pare } from "../../src/client/pare.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { f32 } from "./fake_host.ts";

const ROWS = 16, COLS = 24;
const WEIGHT = f32([ROWS, COLS], [...normals(ROWS * COLS, 1)]);
const SQUARE = correlatedHessian(COLS, { seed: 2 });
const UPPER = f32(
  [COLS * (COLS + 1) / 2],
  [...SQUARE].filter((_, i) => i % COLS >= Math.floor(i / COLS)),
);
const LAYER: LayerTensors = { weight: WEIGHT, hessian_upper: UPPER };

function countZeros({ weight }: PrunedLayer): number {
  return asFloat32(weight.data).filter((value) => value === 0).length;
}

const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

describe("Pare in process", () => {
  it("prunes a layer", async () => {
    const pruned = await host.pare.pruneLayer(LAYER, { sparsity: 0.25 });
    assert.deepEqual([pruned.report.zeros, countZeros(pruned)], [96, 96]);
    assert.deepEqual(pruned.mask.shape, [ROWS, COLS / 8]);
  });

  it("gives the same weights for the whole Hessian and for its upper triangle", async () => {
    const whole = await host.pare.pruneLayer({ weight: WEIGHT, hessian: f32([COLS, COLS], [...SQUARE]) });
    const packed = await host.pare.pruneLayer(LAYER);
    assert.deepEqual(whole.weight.data, packed.weight.data);
  });

  it("stores statistics at the server, which factors them once for two layers, and deletes them", async () => {
    const { pare } = host;
    const hessian = await pare.putHessian(UPPER);
    const first = await pare.pruneLayer({ weight: WEIGHT }, { hessian });
    const second = await pare.pruneLayer({ weight: WEIGHT }, { hessian });
    assert.deepEqual([first.report.factor_reused, second.report.factor_reused], [false, true]);
    assert.deepEqual(first.weight.data, second.weight.data);
    assert.deepEqual(first.weight.data, (await pare.pruneLayer(LAYER)).weight.data);
    await pare.deleteHessian(hessian);
    await pare.deleteHessian(hessian);
    await assert.rejects(pare.pruneLayer({ weight: WEIGHT }, { hessian }), { code: "hessian_not_found" });
  });

  it("throws a PareError with the code and the request id of a refusal", async () => {
    const refused = host.pare.pruneLayer({ weight: WEIGHT, hessian_upper: f32([3], [1, 0, 1]) });
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof PareError && error.requestId);
      assert.deepEqual([error.status, error.code], [422, "shape_mismatch"]);
      return true;
    });
  });

  it("prunes another layer after an aborted request", async () => {
    const controller = new AbortController();
    const aborted = host.pare.pruneLayer(LAYER, {}, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await assert.rejects(aborted, /enough/);
    // The host has one place for a layer. The aborted request may hold it until the host notices the abort.
    for (let tries = 0;; tries++) {
      try {
        assert.equal(countZeros(await host.pare.pruneLayer(LAYER)), ROWS * COLS / 2);
        return;
      } catch (error) {
        if (!(error instanceof PareError && error.code === "busy") || tries > 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  });
});

describe("Pare over HTTP", () => {
  it("returns the same bytes as a server in the same process", async () => {
    const served = await serve({ port: 0, backend: "cpu", log: () => {} });
    const remote = new Pare({ baseUrl: served.url });
    for (const query of [{}, { pattern: "2:4" }, { method: "magnitude", sparsity: 0.9 }] as const) {
      const [localLayer, remoteLayer] = await Promise.all(
        [host.pare, remote].map((pare) => pare.pruneLayer(LAYER, query)),
      );
      assert.deepEqual(localLayer.weight.data, remoteLayer.weight.data);
      assert.deepEqual(localLayer.mask.data, remoteLayer.mask.data);
    }
    await served.shutdown();
  });
});

describe("Pare over a connection that breaks", () => {
  /**
   * Runs `body` with a server that sends the bytes of `answer` to every connection and then closes the
   * connection. `count` returns the number of connections.
   */
  async function withRawServer(answer: string, body: (pare: Pare, count: () => number) => Promise<void>) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let connections = 0;
    const serving = (async () => {
      for await (const connection of listener) {
        connections++;
        await connection.read(new Uint8Array(65536));
        await connection.write(new TextEncoder().encode(answer));
        connection.close();
      }
    })();
    const baseUrl = `http://127.0.0.1:${listener.addr.port}`;
    try {
      await body(new Pare({ baseUrl, retries: 1, backoffMs: 1 }), () => connections);
    } finally {
      listener.close();
      await serving;
    }
  }

  for (
    const [what, answer] of [
      ["before the answer", ""],
      ["within the headers", "HTTP/1.1 200 OK\r\nContent-"],
      ["within the body", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun"],
      ["within a refusal", "HTTP/1.1 422 Unprocessable\r\nContent-Length: 1000\r\n\r\nbegun"],
    ] as const
  ) {
    it(`repeats a request whose connection broke ${what}, then throws a ConnectionError`, () =>
      withRawServer(answer, async (pare, count) => {
        await assert.rejects(pare.pruneLayer(LAYER), ConnectionError);
        assert.equal(count(), 2);
      }));
  }

  it("throws a ConnectionError that names the server if nothing listens there", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const baseUrl = `http://127.0.0.1:${listener.addr.port}`;
    listener.close();
    const pare = new Pare({ baseUrl, retries: 0 });
    await assert.rejects(pare.pruneLayer(LAYER), {
      name: "ConnectionError",
      message: /^http:\/\/127\.0\.0\.1/,
    });
  });
});
