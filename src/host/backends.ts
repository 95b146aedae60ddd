/** Opens the backend that a host runs on. Only this file, the edge's small layers, tests and benches name a concrete backend. */

import type { Backend } from "../backend/backend.ts";
import { connectBackend } from "../backend/remote_backend.ts";
import { createCpuBackend } from "../cpu/backend.ts";
import { hasHardwareAdapter, requestAdapter } from "../webgpu/device.ts";

/** The values of `--backend`. */
export const BACKEND_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** `auto` chooses WebGPU if the machine has a hardware GPU, else the CPU. A GPU emulated on the CPU is slower than both. */
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

/** Opens a backend that never blocks the calling event loop. @throws {NoAdapterError} if `webgpu` is requested and there is no adapter */
export async function selectBackend(choice: BackendChoice): Promise<Backend> {
  if (choice === "cpu" || (choice === "auto" && !await hasHardwareAdapter())) return await createCpuBackend();
  // Fails here with a NoAdapterError. An error inside the worker would lose its class.
  await requestAdapter();
  return await connectBackend(
    new Worker(new URL("../webgpu/worker.ts", import.meta.url), { type: "module" }),
  );
}
