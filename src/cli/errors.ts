/** The errors of the command line itself, and the explanation of operations that Deno did not permit. */

/** Thrown if options contradict each other, or if the value of an option breaks a rule. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Thrown if the same command would fail again for a reason outside of its options, such as a missing GPU. */
export class RefusedError extends Error {
  override readonly name: string = "RefusedError";
}

/** Thrown if a check found something. The command has printed its result already, so nothing but this error's message follows. */
export class CheckFailedError extends RefusedError {
  override readonly name = "CheckFailedError";
}

/**
 * The signals that stop a command, with the exit code that each leads to. The code is 128 plus the number of SIGINT or SIGTERM, as shells
 * expect. Batch systems such as Slurm send SIGUSR1 before a time limit. It stops a command as SIGTERM does, and so does SIGUSR2.
 */
export const STOP_SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGUSR1: 143, SIGUSR2: 143 } as const;

/** The name of a signal that stops a command. */
export type StopSignal = keyof typeof STOP_SIGNALS;

/** Thrown if a signal stopped the command. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(readonly by: StopSignal) {
    super(`stopped by ${by}`);
  }

  get exitCode(): number {
    return STOP_SIGNALS[this.by];
  }
}

/** The message of Deno's `NotCapable` error. `all` stands for folders of the system, such as /proc, which only a process with all permissions may use. */
const DENO_MESSAGE = /^Requires (read|write|net|all) access to "?(.*?)"?, run again with the --allow-/s;

const OPERATIONS = { read: "reading", write: "writing", net: "connecting to" } as const;

/**
 * Returns what was not permitted, and the option that permits it.
 * @returns undefined if the command line cannot permit the operation, for example to start a program
 */
export function explainNotPermitted(error: Error): string | undefined {
  const [, permission, target] = DENO_MESSAGE.exec(error.message) ?? [];
  if (permission === undefined) return undefined;
  if (permission === "all") {
    return `${target}: lies in a folder of the operating system, which a command may not use`;
  }
  const operation = OPERATIONS[permission as keyof typeof OPERATIONS];
  return `${operation} ${target} is not permitted, because the command line does not name it; ` +
    `add --allow-${permission} ${target} to permit it`;
}
