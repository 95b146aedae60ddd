/**
 * Chooses, opens and checks the backend of a host. Other files use the open `Backend` without knowing its kind. Every
 * backend that a host, `pare eval` or `pare prune` uses comes from here, so a device that computes wrong results is
 * refused everywhere.
 */

import type { Backend } from "../device/backend.ts";
import { connectBackend } from "../device/remote_backend.ts";
import { createCpuBackend } from "../device/cpu/backend.ts";
import { type BlasChoice, DEFAULT_BLAS, findBlas } from "../device/cpu/blas/find_blas.ts";
import { selfCheck, SelfCheckError } from "./self_check/self_check.ts";
import type { DawnFiles } from "../device/webgpu/runtimes/dawn.ts";
import { hasHardwareAdapter, requestAdapter } from "../device/webgpu/device.ts";
import {
  DEFAULT_RUNTIME,
  parseRuntime,
  WEBGPU_RUNTIMES,
  type WebGpuRuntime,
} from "../device/webgpu/runtimes/runtime.ts";
import type { LogEntry } from "./log_entry.ts";

export {
  type BlasChoice,
  type DawnFiles,
  DEFAULT_BLAS,
  DEFAULT_RUNTIME,
  parseRuntime,
  WEBGPU_RUNTIMES,
  type WebGpuRuntime,
};

/** The values of the command-line option `--backend` and of the variable `PARE_BACKEND`. */
export const BACKEND_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** The requested backend. `auto` is WebGPU if the machine has a hardware GPU, else the CPU, because an emulated GPU is slower than the CPU. */
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

/** The ways to open a backend. Tests replace them. */
export interface BackendOpeners {
  readonly hasHardwareAdapter: (runtime: WebGpuRuntime) => Promise<boolean>;
  readonly webgpu: (runtime: WebGpuRuntime) => Promise<Backend>;
  readonly cpu: (blas: BlasChoice) => Promise<Backend>;
}

const OPENERS: BackendOpeners = {
  hasHardwareAdapter,
  webgpu: openWebGpu,
  cpu: (blas) => createCpuBackend({ blas: findBlas(blas) }),
};

/** The libraries that a backend uses. */
export interface BackendLibraries {
  /**
   * The library that multiplies matrices if the backend is `cpu`.
   * @default DEFAULT_BLAS
   */
  readonly blas?: BlasChoice;
  /**
   * The implementation of WebGPU if the backend is `webgpu`.
   * @default DEFAULT_RUNTIME
   */
  readonly webgpu?: WebGpuRuntime;
}

/** Options of {@link selectBackend}. */
interface SelectOptions extends BackendLibraries {
  /**
   * Called if the choice `auto` of the backend refuses the GPU, or the choice `auto` of the library refuses the library.
   * @default a function that does nothing
   */
  readonly log?: (entry: LogEntry) => void;
  readonly openers?: BackendOpeners;
}

/**
 * Opens a backend that never blocks the event loop of the caller, and checks that its kernels compute right results. With
 * the choice `auto`, a GPU that fails the check is replaced by the CPU. With the library `auto`, a library with which the CPU
 * fails the check is not used.
 * @throws {NoAdapterError} if `webgpu` is requested and there is no adapter
 * @throws {Error} if `blas` is a path and the library cannot be loaded, or if the implementation of WebGPU cannot
 * @throws {SelfCheckError} if the requested backend computes wrong results. The message names `blas` if it is a path
 */
export async function selectBackend(
  choice: BackendChoice,
  { blas = DEFAULT_BLAS, webgpu = DEFAULT_RUNTIME, log = () => {}, openers = OPENERS }: SelectOptions = {},
): Promise<Backend> {
  const openCpu = () => openCheckedCpu(openers.cpu, blas, log);
  if (choice === "cpu") return await openCpu();
  const openGpu = () => openers.webgpu(webgpu);
  if (choice === "webgpu") return await openChecked(openGpu);
  if (await openers.hasHardwareAdapter(webgpu)) {
    try {
      return await openChecked(openGpu);
    } catch (error) {
      if (!(error instanceof SelfCheckError)) throw error;
      log({ event: "device refused", reason: error.message, instead: "cpu" });
    }
  }
  return await openCpu();
}

/** Opens the backend `cpu` with a library, and runs the self-check. With the library `auto` it decides whether a library is used. */
async function openCheckedCpu(
  open: BackendOpeners["cpu"],
  blas: BlasChoice,
  log: (entry: LogEntry) => void,
): Promise<Backend> {
  try {
    return await openChecked(() => open(blas));
  } catch (error) {
    if (!(error instanceof SelfCheckError) || blas === "off") throw error;
    if (blas !== "auto") throw new SelfCheckError(`BLAS library ${blas}: ${error.message}`, error.kernels);
    log({ event: "device refused", reason: error.message, instead: "cpu without a BLAS library" });
    return await openChecked(() => open("off"));
  }
}

/** Opens a backend and runs the self-check on it. A backend that fails the check is closed. */
async function openChecked(open: () => Promise<Backend>): Promise<Backend> {
  const backend = await open(), start = performance.now();
  try {
    await selfCheck(backend);
  } catch (error) {
    await backend.dispose();
    throw error;
  }
  backend.selfCheck = { seconds: (performance.now() - start) / 1000 };
  return backend;
}

async function openWebGpu(runtime: WebGpuRuntime): Promise<Backend> {
  // The adapter is requested in this thread too, because a NoAdapterError from the worker would arrive without its class.
  await requestAdapter(false, runtime);
  return await connectBackend(
    new Worker(new URL("../device/webgpu/worker.ts", import.meta.url), { type: "module", name: runtime }),
  );
}
