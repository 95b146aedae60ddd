/** Chooses and opens the backend of a host. Other files get an open `Backend`, whose kind they need not know. */

import type { Backend } from "../backend/backend.ts";
import { connectBackend } from "../backend/remote_backend.ts";
import { createCpuBackend } from "../cpu/backend.ts";
import { hasHardwareAdapter, requestAdapter } from "../webgpu/device.ts";

/** The values of `--backend`. */
export const BACKEND_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** A value of `--backend`. `auto` is WebGPU if the machine has a hardware GPU, else the CPU, because an emulated GPU is slower than the CPU. */
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

/** Opens a backend that never blocks the event loop of the caller. @throws {NoAdapterError} if `webgpu` is requested and there is no adapter */
export async function selectBackend(choice: BackendChoice): Promise<Backend> {
  if (choice === "cpu" || (choice === "auto" && !await hasHardwareAdapter())) return await createCpuBackend();
  // The adapter is requested here too, because the NoAdapterError of a worker would lose its class.
  await requestAdapter();
  return await connectBackend(
    new Worker(new URL("../webgpu/worker.ts", import.meta.url), { type: "module" }),
  );
}
