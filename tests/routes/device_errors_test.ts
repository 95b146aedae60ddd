/** Tests the errors of a host whose device is busy, missing or lost. After each of them the host must serve the next request. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, DeviceLostError } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { file, floats } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { withOverrides } from "../../scripts/self_check/faults/with_dispatch.ts";
import { limitMemory } from "../support/limited_backend.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { assertProblem } from "./assert_problem.ts";
import { answerOf, safetensorsHeaders, startHost } from "./host.ts";

const ROWS = 8, COLS = 48;
const hessian = floats("F32", [COLS, COLS], correlatedHessian(COLS, { seed: 2 }));
const LAYER = file({ weight: floats("F32", [ROWS, COLS], normals(ROWS * COLS, 1)), hessian });
const HESSIAN = file({ hessian });
const LAYERS = "/v1/layers";

describe("a host with a full, missing or lost device", () => {
  it("answers busy when the queue is full", async () => {
    const host = await startHost({ device: { maxResidentLayers: 1, queueDepth: 1 } });
    const live = host.liveBytes();
    const gate = Promise.withResolvers<void>();
    const slow = new ReadableStream({
      async pull(controller) {
        await gate.promise;
        controller.enqueue(LAYER);
        controller.close();
      },
    }, { highWaterMark: 0 });
    const first = host.request(LAYERS, {
      method: "POST",
      body: slow,
      headers: safetensorsHeaders(LAYER.length),
    });
    const second = host.send("POST", LAYERS, LAYER);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const refused = await host.send("POST", LAYERS, LAYER);
    assert.match(refused.headers.get("Retry-After")!, /^[1-9]\d*$/);
    await assertProblem(refused, "busy");
    assert.equal((await host.request("/healthz")).status, 200);
    gate.resolve();
    await answerOf(await first);
    await answerOf(await second);
    assert.equal(host.liveBytes(), live);
    await host.close();
  });

  it("answers busy to a request that has waited too long, and frees its place in the queue", async () => {
    const host = await startHost({ device: { maxResidentLayers: 1, queueDepth: 1, queueMilliseconds: 30 } });
    const { residentQueue } = host.device.session();
    const release = await residentQueue.acquire();
    const refused = await host.send("POST", LAYERS, LAYER);
    assert.match(refused.headers.get("Retry-After")!, /^[1-9]\d*$/);
    assert.match((await assertProblem(refused, "busy")).detail, /waited for 0.03 s/);
    assert.equal(residentQueue.waiting, 0);
    release();
    await answerOf(await host.send("POST", LAYERS, LAYER));
    await host.close();
  });

  it("answers busy to a body for which there is no memory beside another one, and else too_large", async () => {
    const host = await startHost({ open: async () => limitMemory(await createCpuBackend(), 1000) });
    const statistics = `/v1/hessians/${formatDigest(await sha256(HESSIAN))}`;
    for (const [method, path, body] of [["POST", LAYERS, LAYER], ["PUT", statistics, HESSIAN]] as const) {
      const release = await host.device.session().residentQueue.acquire();
      await assertProblem(await host.send(method, path, body), "busy");
      release();
      await assertProblem(await host.send(method, path, body), "too_large");
    }
    await host.close();
  });

  it("answers truncated_body when a waiting client disconnects, and frees its place in the queue", async () => {
    const host = await startHost({ device: { maxResidentLayers: 1, queueDepth: 1 } });
    const { residentQueue } = host.device.session();
    const release = await residentQueue.acquire();
    const clientAbort = new AbortController();
    const init = {
      method: "POST",
      body: LAYER,
      headers: safetensorsHeaders(LAYER.length),
      signal: clientAbort.signal,
    };
    const waiting = host.request(LAYERS, init);
    while (residentQueue.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    clientAbort.abort();
    await assertProblem(await waiting, "truncated_body");
    assert.equal(residentQueue.waiting, 0);
    release();
    await answerOf(await host.send("POST", LAYERS, LAYER));
    await host.close();
  });

  it("answers no_device when the backend cannot be opened", async () => {
    const host = await startHost({ open: () => Promise.reject(new Error("no WebGPU adapter")) });
    for (const response of [await host.send("POST", LAYERS, LAYER), await host.request("/readyz")]) {
      assert.match((await assertProblem(response, "no_device")).detail, /no WebGPU adapter/);
      assert.match(response.headers.get("Retry-After")!, /^[1-9]\d*$/);
    }
    assert.equal((await host.request("/healthz")).status, 200);
    assert.match(await (await host.request("/")).text(), /Not ready/);
    assert.equal((await host.request("/metrics")).status, 200);
    await host.close();
  });

  it("answers device_lost whenever the device is lost during a request, and then opens a new device", async () => {
    let countdown = 0, opened = 0;
    const open = async () => {
      opened++;
      return withDeviceLoss(await createCpuBackend({ threads: 0 }), () => countdown-- === 0);
    };
    const host = await startHost({ open });
    for (let wait = 0;; wait++) {
      countdown = wait;
      const response = await host.send("POST", LAYERS, LAYER);
      if (response.status === 200) {
        // The device was lost while the answer was streamed, or not at all.
        const complete = await response.arrayBuffer().then(() => true, () => false);
        if (complete) break;
      } else {
        assert.equal(response.headers.get("Retry-After"), "5");
        await assertProblem(response, "device_lost");
      }
      assert.equal(host.device.current(), undefined);
      await assertProblem(await host.request("/readyz"), "device_lost");
      while (!host.device.current()) await new Promise((resolve) => setTimeout(resolve, 1));
      assert.equal((await host.request("/readyz")).status, 200);
    }
    assert.ok(opened > 4, `${opened} devices`);
    await host.close();
  });
});

/** Wraps a backend so that each read or finish during which `isLost` returns true fails with a DeviceLostError. */
function withDeviceLoss(backend: Backend, isLost: () => boolean): Backend {
  const check = () => {
    if (isLost()) throw new DeviceLostError("the test pulled the plug");
  };
  return withOverrides(backend, {
    async read(...args) {
      check();
      return await backend.read(...args);
    },
    async finish() {
      check();
      await backend.finish();
    },
  });
}
