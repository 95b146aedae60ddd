/** Finds out whether the standard output of the process was closed when it started, as by `pare … --json >&-` in a shell. */

import { fstatSync } from "node:fs";

const STDOUT = 1;
/** The access mode of a file in the flags of Linux, and its value for a file that is open for reading and writing. */
const ACCESS_MODE = 3, READ_WRITE = 2;

/**
 * Whether standard output was closed. The runtime then opens /dev/null for reading and writing in its place, so that writing succeeds. A
 * shell's `>/dev/null` is open for writing only, and is not taken for a closed output. Returns false on systems other than Linux, and if
 * the process may not read /proc.
 */
export function isOutputClosed(): boolean {
  if (Deno.build.os !== "linux") return false;
  try {
    if (fstatSync(STDOUT).rdev !== Deno.statSync("/dev/null").rdev) return false;
    const [, flags] = /^flags:\s*([0-7]+)$/m.exec(Deno.readTextFileSync(`/proc/self/fdinfo/${STDOUT}`)) ?? [];
    return (parseInt(flags, 8) & ACCESS_MODE) === READ_WRITE;
  } catch {
    return false;
  }
}
