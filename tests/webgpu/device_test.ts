/** Which adapter is taken for what, and that the device has more than WebGPU's default limits. */

import { ok, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createWebGpuBackend } from "../../src/webgpu/backend.ts";
import { describeAdapter, hasHardwareAdapter, requestAdapter } from "../../src/webgpu/device.ts";
import { webgpuSuite } from "./suite.ts";

function described(info: Partial<GPUAdapterInfo>) {
  const nothing = { vendor: "", architecture: "", device: "", description: "", isFallbackAdapter: false };
  return describeAdapter({ info: { ...nothing, ...info } as GPUAdapterInfo });
}

describe("describing an adapter", () => {
  it("prefers the description, then whatever says something", () => {
    strictEqual(
      described({ vendor: "4318", description: "NVIDIA H100 80GB HBM3" }).name,
      "NVIDIA H100 80GB HBM3",
    );
    strictEqual(described({ vendor: "apple", architecture: "metal-3" }).name, "apple metal-3");
    strictEqual(described({}).name, "unnamed adapter");
  });

  it("knows software adapters by their flag or their name", () => {
    ok(!described({ description: "AMD Radeon RX 7900 XTX" }).software);
    ok(described({ description: "some renderer", isFallbackAdapter: true }).software);
    for (
      const name of [
        "llvmpipe (LLVM 19.1.7, 256 bits)",
        "SwiftShader Device",
        "Microsoft Basic Render Driver",
      ]
    ) {
      ok(described({ description: name }).software, name);
    }
  });
});

webgpuSuite("the device", (backend) => {
  it("has the adapter's limits, not the defaults", async () => {
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

  it("can bind a buffer of the largest size", async () => {
    const buffer = backend().createBuffer("largest", backend().maxBufferBytes);
    backend().write(buffer, buffer.byteLength - 4, Uint8Array.of(1, 2, 3, 4));
    strictEqual((await backend().read(buffer, buffer.byteLength - 4, 4))[3], 4);
    buffer.destroy();
  });

  it("opens on an adapter that is given", async () => {
    const adapter = await requestAdapter();
    const given = await createWebGpuBackend({ adapter });
    strictEqual(given.adapter.name, describeAdapter(adapter).name);
    await given.dispose();
  });

  it("is hardware exactly when a hardware adapter is said to exist", async () => {
    strictEqual(await hasHardwareAdapter(), !backend().adapter.software);
  });
});
