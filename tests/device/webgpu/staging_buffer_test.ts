/**
 * Tests waiting for the device by mapping a staging buffer, which is memory that the device writes and the
 * CPU reads. The wait must never end before the device is done.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { StagingBuffer } from "../../../src/device/webgpu/staging_buffer.ts";
import { upload } from "../../support/device.ts";
import { doubleAndAdd } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

const COUNT = 2 ** 20;

webgpuSuite("waiting for a WebGPU device", (backend) => {
  it("ends only when long work is done, several times in a row", async () => {
    const x = upload(backend(), new Float32Array(COUNT).fill(1)),
      y = upload(backend(), new Float32Array(COUNT));
    for (let round = 1; round <= 3; round++) {
      backend().clear(y);
      for (let i = 0; i < 20; i++) backend().dispatch(doubleAndAdd, { x, y }, { count: COUNT, step: 0 });
      const last = await backend().read(y, 4 * (COUNT - 1), 4);
      deepStrictEqual(new Float32Array(last.buffer), Float32Array.of(2 ** 20 - 1));
    }
    x.destroy();
    y.destroy();
  });

  it("allows a staging buffer to be mapped again at once", async () => {
    const { device } = backend(), staging = new StagingBuffer(device, 64);
    const source = device.createBuffer({
      size: 64,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    for (let round = 0; round < 6; round++) {
      device.queue.writeBuffer(source, 0, Uint32Array.of(round, round + 1));
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(source, 0, staging.gpu, 0, 8);
      device.queue.submit([encoder.finish()]);
      deepStrictEqual([...new Uint32Array(await staging.map(8))], [round, round + 1]);
      staging.unmap();
    }
    strictEqual(staging.byteLength, 64);
    staging.destroy();
    source.destroy();
  });
});
