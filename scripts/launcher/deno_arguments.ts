/** Builds the command line of the Deno process in which a command of `pare` runs. */

import { realpathSync } from "node:fs";
import process from "node:process";
import { USUAL_PLACES } from "../../src/device/cpu/products/find_products.ts";
import { permissionFlags } from "../../src/cli/permissions/permission_flags.ts";
import { findDawn } from "../../src/device/webgpu/runtimes/dawn.ts";

export interface Program {
  readonly main: string;
  /** The files and folders that the program reads while it runs. */
  readonly reads: readonly string[];
  /** The flags that say how Deno finds the modules of the program. */
  readonly flags: readonly string[];
}

/** Returns the arguments of Deno for the command line `pare WORD…`. */
export function denoArguments({ main, reads, flags }: Program, words: readonly string[]): string[] {
  const around = {
    cwd: process.cwd(),
    env: process.env,
    libraries: USUAL_PLACES[process.platform] ?? [],
    dawn: findDawn(main),
    realPath,
  };
  return [
    "run",
    "--quiet",
    "--no-prompt",
    // Without this flag, Deno writes a warning between the log entries of a host. deno.json sets it for the tasks.
    "--unstable-no-legacy-abort",
    ...flags,
    ...permissionFlags(words, reads, around),
    main,
    ...words,
  ];
}

/** Returns the real path of what exists at `path`. A link that leads nowhere or in a circle counts as missing. */
export function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
