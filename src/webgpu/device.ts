/**
 * Finds an adapter and opens a device with all the limits and features that Pare uses. A device that does not request higher limits
 * has WebGPU's small default limits, whatever the hardware. This file also names the adapter for people, and tells hardware from
 * adapters that are emulated on the CPU.
 */

import type { Adapter } from "../backend/backend.ts";

/** The machine has no WebGPU adapter, or none of the requested kind. */
export class NoAdapterError extends Error {
  override name = "NoAdapterError";
}

/** An open device and its adapter. */
export interface OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: Adapter;
}

/** The limits that are raised to the adapter's maximum. */
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

/** Features that are requested if the adapter has them. */
const OPTIONAL_FEATURES: readonly string[] = ["timestamp-query", "shader-f16", "subgroups"];

/** Names of Vulkan and GL drivers that emulate a GPU on the CPU. Some adapters do not report this themselves. */
const SOFTWARE_NAMES = /llvmpipe|lavapipe|swiftshader|softpipe|microsoft basic render/i;

/**
 * Requests the fastest adapter, or with `forceSoftware` one that is emulated on the CPU.
 * @throws {NoAdapterError} if there is none
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

/** Returns the adapter's name for users, and whether it is emulated. */
export function describeAdapter({ info }: Pick<GPUAdapter, "info">): Adapter {
  const { vendor, architecture, device, description } = info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed adapter";
  return { name, software: info.isFallbackAdapter || SOFTWARE_NAMES.test(name) };
}

/** Whether the machine has a hardware GPU. `--backend auto` prefers one to the CPU. */
export async function hasHardwareAdapter(): Promise<boolean> {
  try {
    return !describeAdapter(await requestAdapter()).software;
  } catch (error) {
    if (error instanceof NoAdapterError) return false;
    throw error;
  }
}

/** Opens a device with every useful limit and feature of `adapter`. An adapter can open one device only. */
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
