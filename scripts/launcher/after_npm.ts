/**
 * Detects that `npx` has ended. `npx` starts a command through a shell, and passes only some signals on, to the shell alone. If a signal ends
 * `npx` or the shell, the command would run on although nobody can stop it any more.
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";

const CHECK_MS = 500;

/** Calls `stop` once when npm or its shell has ended. This process must have been started by `npx` or `npm exec`. */
export function afterNpm(stop: () => void): void {
  const shell = process.ppid, npm = parentOf(shell);
  const timer = setInterval(() => {
    if (process.ppid === shell && (npm === undefined || isRunning(npm))) return;
    clearInterval(timer);
    stop();
  }, CHECK_MS);
  timer.unref();
}

/** Returns the parent of a process, or undefined if the system does not say. Linux has a file for it, and other systems the program `ps`. */
function parentOf(pid: number): number | undefined {
  let text: string;
  try {
    text = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
  } catch {
    text = spawnSync("ps", ["-o", "ppid=", "-p", String(pid)], { encoding: "utf8" }).stdout ?? "";
  }
  const parent = Number(text);
  return parent > 1 ? parent : undefined;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // it runs as another user
  }
}
