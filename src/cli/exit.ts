/** Turns the error that a command threw into the exit code of the process and the line that reports the failure. */

import { CommanderError } from "commander";

/** Thrown if options contradict each other, or if the value of an option breaks a rule. The exit code is 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Thrown if a signal stopped the command. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(readonly by: keyof typeof STOP_SIGNALS) {
    super(`stopped by ${by}`);
  }
}

/** The signals that stop a command, with their numbers. The exit code is 128 plus the number, as shells expect. */
const STOP_SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/** Returns the exit code for the error that a command threw. */
export function exitCode(thrown: unknown): number {
  const error = firstError(thrown);
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) return 2;
  return error instanceof Interrupted ? 128 + STOP_SIGNALS[error.by] : 1;
}

/** Returns the line that reports an error, or undefined if commander has already reported it. */
export function failureLine(thrown: unknown): string | undefined {
  const error = firstError(thrown);
  if (error instanceof CommanderError) return undefined;
  const message = error instanceof Error ? error.message || error.name : String(error);
  return `error: ${message.trim().replace(/\s*\n\s*/g, "; ")}`;
}

/** Returns the error that stopped the command, even if the cleanup after this error failed as well. */
function firstError(thrown: unknown): unknown {
  return thrown instanceof SuppressedError ? firstError(thrown.suppressed) : thrown;
}
