/**
 * Tests the errors of invalid calls, invalid shaders and a lost device. It checks the class of each error,
 * and that the message names the cause.
 */

import { deepStrictEqual, rejects, throws } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { DeviceLostError } from "../../../src/device/backend.ts";
import { createWebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { upload } from "../../support/device.ts";
import { doubleAndAdd, malformed, overreaching, sprawling } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

const ONE = { count: 1, step: 0 };

webgpuSuite("a WebGPU backend", (backend) => {
  const pair = () => ({
    x: upload(backend(), Float32Array.of(1), "the x"),
    y: upload(backend(), Float32Array.of(1), "the y"),
  });

  it("rejects a buffer over the limit, and names its label, its size and the limit", () => {
    const limit = backend().maxBufferBytes;
    throws(() => backend().createBuffer("huge", limit + 4), {
      name: "OutOfDeviceMemoryError",
      message: new RegExp(`huge.*${limit + 4}.*${limit}`),
    });
    throws(() => backend().createBuffer("odd", 1.5), { name: "RangeError", message: /odd.*1\.5/ });
  });

  it("rejects a grid over the limit", () => {
    const { x, y } = pair();
    throws(() => backend().dispatch(sprawling, { x, y }, ONE), {
      name: "RangeError",
      message: /sprawling: grid 65536×1×1/,
    });
    x.destroy();
    y.destroy();
  });

  it("reports a shader that does not compile, with kernel and source line, at the next wait and every later dispatch", async () => {
    const { x, y } = pair();
    const refusal = { message: /kernel malformed does not compile[^]*y\[i\] = ;[^]*\^/ };
    backend().dispatch(malformed, { x, y }, ONE);
    await rejects(backend().finish(), refusal);
    throws(() => backend().dispatch(malformed, { x, y }, ONE), refusal);
    await rejects(backend().warm([overreaching]), { message: /kernel overreaching does not compile/ });
    // After both errors the device still works.
    backend().dispatch(doubleAndAdd, { x, y }, ONE);
    deepStrictEqual(new Float32Array((await backend().read(y, 0, 4)).buffer), Float32Array.of(3));
    x.destroy();
    y.destroy();
  });

  it("throws an error that WebGPU reports by an event from the next wait, and only once", async () => {
    const { x, y } = pair();
    const encoder = backend().device.createCommandEncoder();
    encoder.copyBufferToBuffer(
      backend().device.createBuffer({ size: 4, usage: GPUBufferUsage.COPY_SRC }),
      0,
      backend().device.createBuffer({ label: "not a target", size: 4, usage: GPUBufferUsage.COPY_SRC }),
      0,
      4,
    );
    backend().device.queue.submit([encoder.finish()]);
    await rejects(backend().read(y, 0, 4), { message: /WebGPU: .*not a target/ });
    await backend().finish();
    x.destroy();
    y.destroy();
  });

  it("makes all pending and later calls fail when the device is lost", async () => {
    const doomed = await createWebGpuBackend();
    const buffer = upload(doomed, Float32Array.of(1)), other = upload(doomed, Float32Array.of(1));
    const pending = [doomed.read(buffer, 0, 4), doomed.finish()];
    doomed.device.destroy();
    const lost = { name: "DeviceLostError", message: /lost \(destroyed\)/ };
    for (const call of pending) await rejects(call, lost);
    await rejects(doomed.read(buffer, 0, 4), lost);
    await rejects(doomed.finish(), lost);
    await rejects(doomed.warm([doubleAndAdd]), lost);
    throws(() => doomed.createBuffer("late", 4), lost);
    throws(() => doomed.write(buffer, 0, new Uint8Array(4)), lost);
    throws(() => doomed.clear(buffer), lost);
    throws(() => doomed.copy(buffer, 0, other, 0, 4), lost);
    throws(() => doomed.dispatch(doubleAndAdd, { x: buffer, y: other }, ONE), lost);
    buffer.destroy();
    await doomed.dispose();
  });

  it("rejects calls after it was disposed of, and can be disposed of twice", async () => {
    const disposed = await createWebGpuBackend();
    await disposed.dispose();
    await disposed.dispose();
    await rejects(
      disposed.finish(),
      (error) => error instanceof DeviceLostError && /disposed/.test(error.message),
    );
  });
});
