/** Runs Deno as a child process: passes signals on to it, and ends with its exit code. Works in Node and in Deno. */

import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import process from "node:process";

/** The signals that are passed on, and what the child receives. Node keeps SIGUSR1 for its debugger, so only Deno passes it on. */
const SIGNALS: readonly (readonly [received: NodeJS.Signals, sent: NodeJS.Signals])[] = [
  ["SIGINT", "SIGINT"],
  ["SIGTERM", "SIGTERM"],
  ["SIGHUP", "SIGTERM"], // the terminal was closed, so the command ends in an orderly way
  ["SIGUSR2", "SIGUSR2"],
  ...("Deno" in globalThis ? [["SIGUSR1", "SIGUSR1"] as const] : []),
];

/** How often the launcher checks whether npm still runs. */
const NPM_CHECK_MS = 500;

/**
 * Starts `deno ARG…` and ends this process with the exit code of the child, or with 128 plus the number of the signal that ended the child.
 * @param env the environment of the child
 */
export function launch(deno: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
  const child = spawn(deno, args, { stdio: "inherit", env });
  child.on("error", (error) => {
    console.error(`error: ${deno} cannot be started: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code ?? 1));
  if (process.platform === "win32") return; // the console sends Ctrl-C to both processes
  for (const [received, sent] of SIGNALS) process.on(received, () => child.kill(sent));
  if (env.npm_command === "exec") stopWithParent(child);
}

/**
 * Stops the child when the parent of this process has ended. `npx` starts a command through a shell. A signal that ends `npx` reaches the
 * shell but not the command, which would then run on without a parent.
 */
function stopWithParent(child: ChildProcess): void {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) child.kill("SIGTERM");
  }, NPM_CHECK_MS).unref();
}
