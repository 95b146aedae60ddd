/** Tests the description of adapters, and the limits of the device, which exceed WebGPU's defaults. */

import { ok, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createWebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { describeAdapter, hasHardwareAdapter, requestAdapter } from "../../../src/device/webgpu/device.ts";
import { webgpuSuite } from "./suite.ts";

/** Describes an adapter with the given properties. All other properties are empty. */
function describeInfo(info: Partial<GPUAdapterInfo>) {
  const empty = { vendor: "", architecture: "", device: "", description: "", isFallbackAdapter: false };
  return describeAdapter({ info: { ...empty, ...info } as GPUAdapterInfo });
}

describe("describeAdapter()", () => {
  it("uses the description as the name, or the other properties if there is none", () => {
    strictEqual(
      describeInfo({ vendor: "4318", description: "NVIDIA H100 80GB HBM3" }).name,
      "NVIDIA H100 80GB HBM3",
    );
    strictEqual(describeInfo({ vendor: "apple", architecture: "metal-3" }).name, "apple metal-3");
    strictEqual(describeInfo({}).name, "unnamed adapter");
  });

  it("recognises adapters that emulate a GPU on the CPU, by their flag or their name", () => {
    ok(!describeInfo({ description: "AMD Radeon RX 7900 XTX" }).software);
    ok(describeInfo({ description: "some renderer", isFallbackAdapter: true }).software);
    for (
      const name of [
        "llvmpipe (LLVM 19.1.7, 256 bits)",
        "SwiftShader Device",
        "Microsoft Basic Render Driver",
      ]
    ) {
      ok(describeInfo({ description: name }).software, name);
    }
  });
});

webgpuSuite("the WebGPU device", (backend) => {
  it("has the limits of the adapter instead of the defaults", async () => {
    const { limits } = await requestAdapter();
    strictEqual(backend().device.limits.maxStorageBufferBindingSize, limits.maxStorageBufferBindingSize);
    strictEqual(backend().device.limits.maxBufferSize, limits.maxBufferSize);
    strictEqual(
      backend().device.limits.maxComputeWorkgroupStorageSize,
      limits.maxComputeWorkgroupStorageSize,
    );
    ok(backend().maxBufferBytes <= limits.maxStorageBufferBindingSize);
    ok(backend().maxBufferBytes >= 2 ** 27 - 16);
  });

  it("writes and reads a buffer of the largest size", async () => {
    const buffer = backend().createBuffer("largest", backend().maxBufferBytes);
    backend().write(buffer, buffer.byteLength - 4, Uint8Array.of(1, 2, 3, 4));
    strictEqual((await backend().read(buffer, buffer.byteLength - 4, 4))[3], 4);
    buffer.destroy();
  });

  it("is opened on the adapter that the caller gives", async () => {
    const adapter = await requestAdapter();
    const given = await createWebGpuBackend({ adapter });
    strictEqual(given.adapter.name, describeAdapter(adapter).name);
    await given.dispose();
  });

  it("is a hardware GPU if and only if hasHardwareAdapter() returns true", async () => {
    strictEqual(await hasHardwareAdapter(), !backend().adapter.software);
  });
});
