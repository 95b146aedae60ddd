/** Runs the command line as a process, for tests of its exit code and its output. */

import { fileURLToPath } from "node:url";
import { driverMessages, withoutLines } from "../support/driver_messages.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** The result of a command that has ended. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  /** The text on standard error, without the messages of graphics drivers. */
  readonly stderr: string;
}

/** Variables that are added to the environment of the process. */
type Environment = Readonly<Record<string, string>>;

/** Starts `pare ARGS` without a terminal. */
export function startPare(...args: readonly string[]): Deno.ChildProcess {
  return startPareWith({}, ...args);
}

/** Starts `pare ARGS` with additional environment variables. */
export function startPareWith(env: Environment, ...args: readonly string[]): Deno.ChildProcess {
  return startDeno(["-A"], env, args);
}

/** Runs `pare ARGS` with these permissions of Deno, and waits for its end. */
export function runPareWithFlags(flags: readonly string[], ...args: readonly string[]): Promise<Finished> {
  return finish(startDeno(flags, {}, args));
}

function startDeno(flags: readonly string[], env: Environment, args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, "--quiet", MAIN, ...args],
    env: { NO_COLOR: "1", PARE_PROGRESS_SECONDS: "0", ...env }, // tests follow each step
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs `pare ARGS` and waits for its end. */
export function runPare(...args: readonly string[]): Promise<Finished> {
  return runPareWith({}, ...args);
}

/** Runs `pare ARGS` with additional environment variables and waits for its end. */
export function runPareWith(env: Environment, ...args: readonly string[]): Promise<Finished> {
  return finish(startPareWith(env, ...args));
}

async function finish(child: Deno.ChildProcess): Promise<Finished> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  const printed = withoutLines(decoder.decode(stderr), await driverMessages());
  return { code, stdout: decoder.decode(stdout), stderr: printed };
}

/**
 * Runs `pare ARGS --json` and returns the printed object. Standard output must contain nothing else. @throws
 * {Error} if the command fails
 */
export async function pareJson<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await runPare(...args, "--json");
  if (code !== 0) throw new Error(`pare ${args.join(" ")}: exit code ${code}\n${stderr}`);
  const lines = stdout.split("\n");
  if (lines.length !== 2 || lines[1] !== "") throw new Error(`not one line: ${stdout}`);
  return JSON.parse(lines[0]);
}
