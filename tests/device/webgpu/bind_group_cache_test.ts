/**
 * Tests the cache of bind groups, which are WebGPU's sets of buffers for a dispatch. The cache must reuse a
 * bind group until one of its buffers is destroyed.
 */

import { notStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { BindGroupCache } from "../../../src/device/webgpu/bind_group_cache.ts";
import { asWebGpuBuffer } from "../../../src/device/webgpu/webgpu_buffer.ts";
import { DeviceFaults } from "../../../src/device/webgpu/device_faults.ts";
import { PARAMS_BYTES, PipelineCache } from "../../../src/device/webgpu/pipeline_cache.ts";
import { doubleAndAdd } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

webgpuSuite("BindGroupCache", (backend) => {
  it("reuses a bind group, and evicts it when any of its buffers is evicted", () => {
    const { device } = backend();
    const params = device.createBuffer({ size: PARAMS_BYTES, usage: GPUBufferUsage.UNIFORM });
    const cache = new BindGroupCache(device, params);
    const { layout } = new PipelineCache(device, new DeviceFaults(device), "software").get(doubleAndAdd, {});
    const [x, y, z] = ["x", "y", "z"].map((label) =>
      asWebGpuBuffer(backend().createBuffer(label, 16), label)
    );

    const group = cache.get(layout, [x, y]);
    strictEqual(cache.get(layout, [x, y]), group);
    notStrictEqual(cache.get(layout, [y, x]), group);
    cache.get(layout, [y, z]);
    strictEqual(cache.size, 3);

    cache.evict(x);
    strictEqual(cache.size, 1);
    cache.evict(x);
    cache.evict(y);
    strictEqual(cache.size, 0);
    notStrictEqual(cache.get(layout, [x, y]), group);
    for (const buffer of [x, y, z]) buffer.destroy();
    params.destroy();
  });
});
