/** Which backend a host runs on. With the entry points this is the only place that names a concrete one. */

import type { Backend } from "../backend/backend.ts";
import { connectBackend } from "../backend/remote_backend.ts";
import { createCpuBackend } from "../cpu/backend.ts";
import { hasHardwareAdapter } from "../webgpu/backend.ts";
import { requestAdapter } from "../webgpu/device.ts";

/** What may be asked for. */
export const BACKEND_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** `auto`: WebGPU where there is a real GPU, else the CPU; an emulated GPU is slower than either. */
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

/** Opens the backend asked for, so that waiting for it never stops the event loop. @throws {NoAdapterError} there is none */
export async function selectBackend(choice: BackendChoice): Promise<Backend> {
  if (choice === "cpu" || (choice === "auto" && !await hasHardwareAdapter())) return await createCpuBackend();
  // Told here, where its class is known, and not by the worker.
  await requestAdapter();
  return await connectBackend(
    new Worker(new URL("../webgpu/worker.ts", import.meta.url), { type: "module" }),
  );
}
