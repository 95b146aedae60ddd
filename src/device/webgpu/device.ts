/**
 * Finds a WebGPU adapter, describes it, and opens a device on it. Unless larger limits are requested, WebGPU gives a
 * device small limits, even on hardware that offers far more. So `openDevice` requests all limits and optional features
 * of the adapter that Pare uses.
 */

import type { Adapter } from "../backend.ts";
import { hasMatrixUnits, MATRIX_FEATURE, type MatrixAdapter } from "./runtimes/matrix_units.ts";
import { DEFAULT_RUNTIME, openRuntime, type WebGpuRuntime } from "./runtimes/runtime.ts";

/** The machine has no WebGPU adapter, or none of the requested kind. */
export class NoAdapterError extends Error {
  override name = "NoAdapterError";
}

interface OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: Adapter;
}

/** The limits that are requested at the adapter's maximum. */
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

/** The features that are requested if the adapter has them. */
const OPTIONAL_FEATURES: readonly string[] = ["timestamp-query", "shader-f16", "subgroups"];

/**
 * The names of drivers that emulate a GPU on the CPU. Some of their adapters do not set `isFallbackAdapter`, so they
 * are recognised by name.
 */
const SOFTWARE_NAMES = /llvmpipe|lavapipe|swiftshader|softpipe|microsoft basic render/i;

/**
 * Returns the fastest adapter, or with `forceSoftware` an adapter that is emulated on the CPU.
 * @throws {NoAdapterError} if there is no such adapter
 * @throws {Error} if the implementation of WebGPU is not installed
 */
export async function requestAdapter(
  forceSoftware = false,
  runtime: WebGpuRuntime = DEFAULT_RUNTIME,
): Promise<GPUAdapter> {
  const { gpu, name = "WebGPU" } = openRuntime(runtime);
  const adapter = await gpu?.requestAdapter({
    powerPreference: "high-performance",
    forceFallbackAdapter: forceSoftware,
  });
  if (!adapter) {
    throw new NoAdapterError(
      forceSoftware
        ? `no software adapter for ${name}: install one such as Mesa's llvmpipe (package mesa-vulkan-drivers)`
        : `no WebGPU adapter: this machine has no GPU driver that ${name} can use`,
    );
  }
  return adapter;
}

/**
 * Describes an adapter for users: its name, and whether it is emulated on the CPU.
 * @param runtime the name of the implementation of WebGPU, if it is not Deno's own
 */
export function describeAdapter({ info }: Pick<GPUAdapter, "info">, runtime?: string): Adapter {
  const { vendor, architecture, device, description } = info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed adapter";
  const software = info.isFallbackAdapter || SOFTWARE_NAMES.test(name);
  return { name: runtime === undefined ? name : `${name} with ${runtime}`, software };
}

/** The files of the GPU drivers of Linux: the kernel's own, and the drivers of NVIDIA, WSL, ARM and Qualcomm. */
const GPU_FILES = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg", "/dev/mali0", "/dev/kgsl-3d0"];

/**
 * Returns whether the machine has a hardware GPU. `--backend auto` chooses WebGPU only if it has one. WebGPU is not asked if Linux has
 * no file of a GPU driver, because the drivers that emulate a GPU take 70 MB of memory once they are loaded.
 */
export async function hasHardwareAdapter(runtime?: WebGpuRuntime): Promise<boolean> {
  if (Deno.build.os === "linux" && !GPU_FILES.some(mayExist)) return false;
  try {
    return !describeAdapter(await requestAdapter(false, runtime)).software;
  } catch (error) {
    if (error instanceof NoAdapterError) return false;
    throw error;
  }
}

/** Returns false if a file is known to be absent. A file that cannot be read may exist. */
function mayExist(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}

/** Opens a device on `adapter`. WebGPU allows one device per adapter object. */
export async function openDevice(adapter: GPUAdapter, runtime?: WebGpuRuntime): Promise<OpenDevice> {
  const device = await adapter.requestDevice({
    label: "pare",
    requiredLimits: Object.fromEntries(RAISED_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
    requiredFeatures: [
      ...[...adapter.features].filter((feature) => OPTIONAL_FEATURES.includes(feature)),
      ...hasMatrixUnits(adapter as MatrixAdapter) ? [MATRIX_FEATURE] : [],
    ] as GPUFeatureName[],
  });
  return { device, adapter: describeAdapter(adapter, openRuntime(runtime).name) };
}
