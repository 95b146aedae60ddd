/** Opens the implementation of WebGPU that the option `--webgpu` or the variable `PARE_WEBGPU` names. */

import { loadDawn } from "./dawn.ts";

/** The implementations: `deno` is part of Deno, and `dawn` is part of Chromium. */
export const WEBGPU_RUNTIMES = ["deno", "dawn"] as const;

export type WebGpuRuntime = (typeof WEBGPU_RUNTIMES)[number];

export const DEFAULT_RUNTIME: WebGpuRuntime = "deno";

export interface OpenRuntime {
  /** Undefined if the environment has no WebGPU. */
  readonly gpu: GPU | undefined;
  /** The name of the implementation, for the names of its adapters. Undefined for Deno's own implementation. */
  readonly name?: string;
}

/** Returns the implementation, and loads it if necessary. @throws {Error} if Dawn cannot be loaded */
export function openRuntime(runtime: WebGpuRuntime = DEFAULT_RUNTIME): OpenRuntime {
  return runtime === "dawn" ? loadDawn() : { gpu: navigator.gpu };
}

/** Parses the name of an implementation. @throws {RangeError} naming `what` and the text */
export function parseRuntime(text: string, what: string): WebGpuRuntime {
  const runtime = WEBGPU_RUNTIMES.find((candidate) => candidate === text);
  if (!runtime) throw new RangeError(`${what} ${text}: must be one of ${WEBGPU_RUNTIMES.join(", ")}`);
  return runtime;
}
