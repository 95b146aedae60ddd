/** Chooses and opens the backend of a host. Other files use the open `Backend` without knowing its kind. */

import type { Backend } from "../backend/backend.ts";
import { connectBackend } from "../backend/remote_backend.ts";
import { roundingName } from "../cpu/adapter_name.ts";
import { createCpuBackend } from "../cpu/backend.ts";
import { type BlasChoice, DEFAULT_BLAS, findBlas } from "../cpu/blas/find_blas.ts";
import { hasHardwareAdapter, requestAdapter } from "../webgpu/device.ts";

export { type BlasChoice, DEFAULT_BLAS };

/** The values of the command-line option `--backend` and of the variable `PARE_BACKEND`. */
export const BACKEND_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** The requested backend. `auto` is WebGPU if the machine has a hardware GPU, else the CPU, because an emulated GPU is slower than the CPU. */
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

/**
 * Opens a backend that never blocks the event loop of the caller.
 * @param blas the library that multiplies matrices if the backend is `cpu`
 * @throws {NoAdapterError} if `webgpu` is requested and there is no adapter
 * @throws {Error} if `blas` is a path and the library cannot be loaded
 */
export async function selectBackend(
  choice: BackendChoice,
  blas: BlasChoice = DEFAULT_BLAS,
): Promise<Backend> {
  if (choice === "cpu" || (choice === "auto" && !await hasHardwareAdapter())) {
    return await createCpuBackend({ blas: findBlas(blas) });
  }
  // The adapter is requested in this thread too, because a NoAdapterError from the worker would arrive without its class.
  await requestAdapter();
  return await connectBackend(
    new Worker(new URL("../webgpu/worker.ts", import.meta.url), { type: "module" }),
  );
}

/** A backend and its adapter, as reports name them. */
export interface NamedAdapter {
  readonly backend: string;
  readonly adapter: string;
}

/** Describes on what the bits of a result depend. Two adapters with the same description give the same bits. */
export function describeRounding({ backend, adapter }: NamedAdapter): string {
  return `${backend} (${backend === "cpu" ? roundingName(adapter) : adapter})`;
}
