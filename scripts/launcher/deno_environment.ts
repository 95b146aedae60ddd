/**
 * Builds the environment of a Deno process, with V8 flags: those that make the `cpu` backend fast on x86-64, and one that saves memory.
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { PAIRING_FLAGS } from "../../src/cpu/instruction_pairing.ts";

/** The version of Deno that is known to have the flags. */
const TESTED_VERSION = "2.9.6";

/**
 * Limits the part of V8's heap that holds new objects to a few MiB per thread. The arrays with weights and activations lie outside of
 * that heap, so more room for new objects only adds to the peak memory of a run.
 */
const SMALL_YOUNG_GENERATION = "--max-semi-space-size=4";

/**
 * Returns the environment of this process with the flags. They are left out if DENO_V8_FLAGS is set already, and if the V8 of `deno` does
 * not know them. Other processors than x86-64 only get the flag that saves memory.
 * @param deno the path of Deno
 * @param version the version of this Deno
 */
export function denoEnvironment(deno: string, version: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { DENO_NO_UPDATE_CHECK: "1", ...process.env };
  if (env.DENO_V8_FLAGS !== undefined) return env;
  const flags = [...process.arch === "x64" ? PAIRING_FLAGS : [], SMALL_YOUNG_GENERATION];
  const withFlags = { ...env, DENO_V8_FLAGS: flags.join(",") };
  return version === TESTED_VERSION || startsWith(deno, withFlags) ? withFlags : env;
}

/** Tries the flags on an empty program, because a process that is started with an unknown flag ends with an error. */
function startsWith(deno: string, env: NodeJS.ProcessEnv): boolean {
  return spawnSync(deno, ["eval", ""], { env, stdio: "ignore" }).status === 0;
}
