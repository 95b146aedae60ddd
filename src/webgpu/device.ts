/**
 * Finds an adapter and opens a device with everything it can do that Pare uses: a device that is not asked for
 * more has WebGPU's small default limits, whatever the hardware. Names the adapter for people and tells GPUs
 * from ones emulated on the CPU. Allocates and runs nothing.
 */

import type { Adapter } from "../backend/backend.ts";

/** There is no WebGPU adapter here, or none of the kind asked for. */
export class NoAdapterError extends Error {
  override name = "NoAdapterError";
}

/** An open device and what it runs on. */
export interface OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: Adapter;
}

/** The limits raised to what the adapter offers. */
const RAISED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const satisfies readonly (keyof GPUSupportedLimits)[];

/** Features taken where they exist. */
const OPTIONAL_FEATURES: readonly string[] = ["timestamp-query", "shader-f16", "subgroups"];

/** Vulkan and GL drivers that emulate a GPU on the CPU, for adapters that do not say so themselves. */
const SOFTWARE_NAMES = /llvmpipe|lavapipe|swiftshader|softpipe|microsoft basic render/i;

/**
 * The adapter to run on; `forceSoftware` asks for one emulated on the CPU.
 * @throws {NoAdapterError}
 */
export async function requestAdapter(forceSoftware = false): Promise<GPUAdapter> {
  const adapter = await navigator.gpu?.requestAdapter({
    powerPreference: "high-performance",
    forceFallbackAdapter: forceSoftware,
  });
  if (!adapter) {
    throw new NoAdapterError(
      forceSoftware
        ? "no software WebGPU adapter (Mesa's llvmpipe is one: package mesa-vulkan-drivers)"
        : "no WebGPU adapter: this machine has no GPU driver that WebGPU can use",
    );
  }
  return adapter;
}

/** The adapter as users see it. */
export function describeAdapter({ info }: Pick<GPUAdapter, "info">): Adapter {
  const { vendor, architecture, device, description } = info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed adapter";
  return { name, software: info.isFallbackAdapter || SOFTWARE_NAMES.test(name) };
}

/** Whether there is a real GPU here, which `--backend auto` prefers to the CPU. */
export async function hasHardwareAdapter(): Promise<boolean> {
  try {
    return !describeAdapter(await requestAdapter()).software;
  } catch (error) {
    if (error instanceof NoAdapterError) return false;
    throw error;
  }
}

/** Opens a device with every useful limit and feature of `adapter`. An adapter opens one device in its life. */
export async function openDevice(adapter: GPUAdapter): Promise<OpenDevice> {
  const device = await adapter.requestDevice({
    label: "pare",
    requiredLimits: Object.fromEntries(RAISED_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
    requiredFeatures: [...adapter.features].filter((feature) =>
      OPTIONAL_FEATURES.includes(feature)
    ) as GPUFeatureName[],
  });
  return { device, adapter: describeAdapter(adapter) };
}
