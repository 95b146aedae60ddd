/** Runs Deno as a child process: passes signals on to it, and ends with its exit code. Works in Node and in Deno. */

import process from "node:process";
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { LAUNCHER_VARIABLE } from "../../src/cli/environment.ts";
import { afterNpm } from "./after_npm.ts";

/** The signals that are passed on, and what the child receives. Node keeps SIGUSR1 for its debugger, so only Deno passes it on. */
const SIGNALS: readonly (readonly [received: NodeJS.Signals, sent: NodeJS.Signals])[] = [
  ["SIGINT", "SIGINT"],
  ["SIGTERM", "SIGTERM"],
  ["SIGHUP", "SIGTERM"], // the terminal was closed, so the command ends in an orderly way
  ["SIGUSR2", "SIGUSR2"],
  ...("Deno" in globalThis ? [["SIGUSR1", "SIGUSR1"] as const] : []),
];

/**
 * The beginning of Deno's arguments for a command. Without `--unstable-no-legacy-abort`, Deno writes a warning between
 * the log entries of a host.
 */
export const RUN = ["run", "-A", "--quiet", "--unstable-no-legacy-abort"];

/**
 * Starts `deno ARG…` and ends this process with the exit code of the child, or with 128 plus the number of the signal that ended the child.
 * @param env the environment of the child
 */
export function launch(deno: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
  const child = spawn(deno, args, {
    stdio: "inherit",
    env: { ...env, [LAUNCHER_VARIABLE]: String(process.pid) },
  });
  child.on("error", (error) => {
    console.error(`error: ${deno} cannot be started: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code ?? 1));
  if (process.platform === "win32") return; // the console sends Ctrl-C to both processes
  // In Deno, `child.kill` would hide the exit code of a child that ends in an orderly way.
  const send = (signal: NodeJS.Signals) => {
    if (child.pid === undefined || child.exitCode !== null) return;
    try {
      process.kill(child.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // the child ended before its exit code arrived
    }
  };
  for (const [received, sent] of SIGNALS) process.on(received, () => send(sent));
  if (env.npm_command === "exec") afterNpm(() => send("SIGTERM"));
}
