/**
 * Finds out whether the standard output of the process was closed when it started, as by `pare … --json >&-` in a shell.
 */

import { fstatSync, readFileSync, statSync } from "node:fs";
import process from "node:process";

const STDOUT = 1;
/** The access mode of a file in the flags of Linux, and its value for a file that is open for reading and writing. */
const ACCESS_MODE = 3, READ_WRITE = 2;

/** Returns why the command line `pare WORD…` cannot print its result, or undefined if it can. */
export function closedOutputProblem(words: readonly string[]): string | undefined {
  if (!words.includes("--json") || !isOutputClosed()) return undefined;
  return "option --json: standard output is closed, so the result cannot be printed";
}

/**
 * Whether standard output was closed. The runtime then opens /dev/null for reading and writing in its place, so that writing succeeds. A
 * shell's `>/dev/null` is open for writing only, and is not taken for a closed output. Returns false on systems other than Linux, and if
 * the process may not read /proc.
 */
function isOutputClosed(): boolean {
  if (process.platform !== "linux") return false;
  try {
    if (fstatSync(STDOUT).rdev !== statSync("/dev/null").rdev) return false;
    const info = readFileSync(`/proc/self/fdinfo/${STDOUT}`, "utf8");
    const [, flags] = /^flags:\s*([0-7]+)$/m.exec(info) ?? [];
    return (parseInt(flags, 8) & ACCESS_MODE) === READ_WRITE;
  } catch {
    return false;
  }
}
