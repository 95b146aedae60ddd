/** Builds the command line and the environment of the Deno process in which a command of `pare` runs. */

import { existsSync } from "node:fs";
import process from "node:process";
import { permissionFlags } from "../../src/cli/permissions/permission_flags.ts";
import { PAIRING_FLAGS } from "../../src/cpu/instruction_pairing.ts";

/** The version of Deno whose V8 has the flags of `PAIRING_FLAGS`. */
const TESTED_VERSION = "2.9.6";

/** A copy of the program. */
export interface Program {
  /** The module with the entry point. */
  readonly main: string;
  /** The files and folders that the program reads while it runs. */
  readonly reads: readonly string[];
  /** The flags that say how Deno finds the modules of the program. */
  readonly flags: readonly string[];
}

/** Returns the arguments of Deno for the command line `pare WORD…`. */
export function denoArguments({ main, reads, flags }: Program, words: readonly string[]): string[] {
  const around = { cwd: process.cwd(), env: process.env, exists: existsSync };
  return [
    "run",
    "--quiet",
    "--no-prompt",
    ...flags,
    ...permissionFlags(words, reads, around),
    main,
    ...words,
  ];
}

/**
 * Returns the environment of Deno, with the V8 flags that make the `cpu` backend fast on x86-64. A process that is started with a flag that
 * V8 does not know ends with an error, so the flags are set only for the version of Deno with which they were tested. If DENO_V8_FLAGS is
 * set already, it is unchanged.
 */
export function denoEnvironment(denoVersion: string): NodeJS.ProcessEnv {
  const hasFlags = process.arch === "x64" && denoVersion === TESTED_VERSION;
  const flags = hasFlags ? { DENO_V8_FLAGS: PAIRING_FLAGS.join(",") } : {};
  return { DENO_NO_UPDATE_CHECK: "1", ...flags, ...process.env };
}
