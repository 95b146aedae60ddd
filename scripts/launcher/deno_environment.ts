/** Builds the environment of a Deno process, with the V8 flags that make the `cpu` backend fast on x86-64. */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { PAIRING_FLAGS } from "../../src/cpu/instruction_pairing.ts";

/** The version of Deno that is known to have the flags. */
const TESTED_VERSION = "2.9.6";

/**
 * Returns the environment of this process with the flags. They are left out if DENO_V8_FLAGS is set already, on other processors, and if
 * the V8 of `deno` does not know them.
 * @param deno the path of Deno
 * @param version the version of this Deno
 */
export function denoEnvironment(deno: string, version: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { DENO_NO_UPDATE_CHECK: "1", ...process.env };
  if (process.arch !== "x64" || env.DENO_V8_FLAGS !== undefined) return env;
  const withFlags = { ...env, DENO_V8_FLAGS: PAIRING_FLAGS.join(",") };
  return version === TESTED_VERSION || startsWith(deno, withFlags) ? withFlags : env;
}

/** Tries the flags on an empty program, because a process that is started with an unknown flag ends with an error. */
function startsWith(deno: string, env: NodeJS.ProcessEnv): boolean {
  return spawnSync(deno, ["eval", ""], { env, stdio: "ignore" }).status === 0;
}
