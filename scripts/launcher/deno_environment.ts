/**
 * Builds the environment of a Deno process: V8 flags that make the `cpu` backend fast on x86-64, and settings of V8 and of the C library
 * that save memory.
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { PAIRING_FLAGS } from "../../src/device/cpu/instruction_pairing.ts";

/** The version of Deno that is known to have the flags. */
const TESTED_VERSION = "2.9.6";

/**
 * Limits the part of V8's heap that holds new objects to a few MiB per thread. The arrays with weights and activations lie outside of
 * that heap, so more room for new objects only adds to the peak memory of a run.
 */
const SMALL_YOUNG_GENERATION = "--max-semi-space-size=4";

/**
 * The size in bytes from which the C library glibc gives an array a memory mapping of its own, which returns to the system when
 * the array is freed. By default glibc raises this size up to 32 MiB while a program runs. The freed arrays of many layers then remain in
 * the process as gaps, many of which are too small for the next array. The arrays of a small layer's request stay below this size,
 * because mapping each of them anew would slow the request down.
 */
const MAPPED_ARRAY_BYTES = 4 * 2 ** 20;

/**
 * Returns the environment of this process with these settings. Variables that are set already stay as they are. The V8 flags are left out
 * if the V8 of `deno` does not know them. Other processors than x86-64 only get the flags that save memory.
 * @param deno the path of Deno
 * @param version the version of this Deno
 */
export function denoEnvironment(deno: string, version: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {
    DENO_NO_UPDATE_CHECK: "1",
    MALLOC_MMAP_THRESHOLD_: String(MAPPED_ARRAY_BYTES),
    ...process.env,
  };
  if (env.DENO_V8_FLAGS !== undefined) return env;
  const flags = [...process.arch === "x64" ? PAIRING_FLAGS : [], SMALL_YOUNG_GENERATION];
  const withFlags = { ...env, DENO_V8_FLAGS: flags.join(",") };
  return version === TESTED_VERSION || startsWith(deno, withFlags) ? withFlags : env;
}

/** Tries the flags on an empty program, because a process that is started with an unknown flag ends with an error. */
function startsWith(deno: string, env: NodeJS.ProcessEnv): boolean {
  return spawnSync(deno, ["eval", ""], { env, stdio: "ignore" }).status === 0;
}
