/**
 * Runs the command line for tests. A command without variables of its own runs in the process of the tests, which saves
 * the start of a process. Tests of exit codes, signals and the environment start one.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runCommandLine } from "../../src/cli/main.ts";
import { driverMessages, withoutLines } from "../support/driver_messages.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

const CONFIG = fileURLToPath(new URL("../../deno.json", import.meta.url));

/** The result of a command that has ended. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  /** The text on standard error, without the messages of graphics drivers. */
  readonly stderr: string;
}

/** Waits for the end of a command. @throws {AssertionError} if the command fails */
export async function succeeded(command: Promise<Finished>): Promise<Finished> {
  const finished = await command;
  assert.equal(finished.code, 0, finished.stderr);
  return finished;
}

/**
 * Splits a command line into its words. An inserted value becomes one word or a part of one, although it may contain spaces,
 * and an inserted array becomes several words.
 */
export function words(
  texts: TemplateStringsArray,
  ...values: readonly (string | number | readonly string[])[]
): string[] {
  const result = [""];
  texts.forEach((text, i) => {
    const [end, ...further] = text.split(/\s+/);
    result[result.length - 1] += end;
    result.push(...further);
    const value = values[i] ?? "";
    if (typeof value === "object") result.push(...value, "");
    else result[result.length - 1] += value;
  });
  return result.filter((word) => word !== "");
}

/** Variables that are added to the environment of a process. */
type Environment = Readonly<Record<string, string>>;

/** The environment of every command. Tests follow each step of its progress. */
const ENVIRONMENT: Environment = { NO_COLOR: "1", PARE_PROGRESS_SECONDS: "0" };

/** Starts `pare ARGS` without a terminal. */
export function startPare(...args: readonly string[]): Deno.ChildProcess {
  return startPareWith({}, ...args);
}

/** Starts `pare ARGS` with additional environment variables. */
export function startPareWith(env: Environment, ...args: readonly string[]): Deno.ChildProcess {
  return startPareIn(undefined, env, ...args);
}

/** Starts `pare ARGS` in a folder, by default the current one. */
export function startPareIn(
  cwd: string | undefined,
  env: Environment,
  ...args: readonly string[]
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--config", CONFIG, MAIN, ...args],
    cwd,
    env: { ...ENVIRONMENT, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/**
 * Reads what a process prints to standard error until it ends, and calls `act` once, when `isReached` accepts the text so far.
 * Returns the text, and how the process ended.
 */
export async function actDuring(
  child: Deno.ChildProcess,
  isReached: (printed: string) => boolean,
  act: () => unknown,
): Promise<Deno.CommandStatus & { readonly stderr: string }> {
  let stderr = "", hasActed = false;
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    stderr += text;
    if (hasActed || !isReached(stderr)) continue;
    hasActed = true;
    await act();
  }
  await child.stdout.cancel();
  return { ...await child.status, stderr };
}

/** Runs `pare ARGS` as a process with additional environment variables, and waits for its end. */
export function runPareWith(env: Environment, ...args: readonly string[]): Promise<Finished> {
  return finish(startPareWith(env, ...args));
}

/** Waits for the end of a command. */
export async function finish(child: Deno.ChildProcess): Promise<Finished> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  const printed = withoutLines(decoder.decode(stderr), await driverMessages());
  return { code, stdout: decoder.decode(stdout), stderr: printed };
}

/** The last command of this process. Commands run one after the other, because they share the console. */
let last: Promise<unknown> = Promise.resolve();

/** Runs `pare ARGS` in this process and waits for its end. */
export function runPare(...args: readonly string[]): Promise<Finished> {
  const running = last.then(() => runHere(args));
  last = running.catch(() => {});
  return running;
}

async function runHere(args: readonly string[]): Promise<Finished> {
  for (const [name, value] of Object.entries(ENVIRONMENT)) Deno.env.set(name, value);
  const printed = { stdout: "", stderr: "" };
  const { log, error } = console, { writeSync } = Deno.stdout, { isTerminal } = Deno.stderr;
  const out = process.stdout.write, err = process.stderr.write, decoder = new TextDecoder();
  console.log = (line: string) => printed.stdout += `${line}\n`;
  console.error = (line: string) => printed.stderr += `${line}\n`;
  Deno.stdout.writeSync = (
    bytes,
  ) => (printed.stdout += decoder.decode(bytes, { stream: true }), bytes.length);
  Deno.stderr.isTerminal = () => false;
  process.stdout.write = (text: string | Uint8Array) => (printed.stdout += text, true);
  process.stderr.write = (text: string | Uint8Array) => (printed.stderr += text, true);
  try {
    return { code: await runCommandLine(args, new AbortController().signal), ...printed };
  } finally {
    Object.assign(console, { log, error });
    Object.assign(Deno.stdout, { writeSync });
    Object.assign(Deno.stderr, { isTerminal });
    process.stdout.write = out;
    process.stderr.write = err;
  }
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
