/** The exit codes of commands, and the line that reports a failure. */

import { CommanderError } from "commander";

/** The command line contradicts itself, or breaks a rule of the contract. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The command was stopped by a signal. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(readonly by: keyof typeof STOP_SIGNALS) {
    super(`stopped by ${by}`);
  }
}

/** The signals that stop a command, with their numbers. The exit code is the number plus 128, as shells expect. */
export const STOP_SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/** Returns the exit code for an error of a command. */
export function exitCode(thrown: unknown): number {
  const error = original(thrown);
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) return 2;
  return error instanceof Interrupted ? 128 + STOP_SIGNALS[error.by] : 1;
}

/** Returns the line that reports an error, or undefined if commander has already reported it. */
export function failureLine(thrown: unknown): string | undefined {
  const error = original(thrown);
  if (error instanceof CommanderError) return undefined;
  const message = error instanceof Error ? error.message || error.name : String(error);
  return `error: ${message.trim().replace(/\s*\n\s*/g, "; ")}`;
}

/** Returns the first error if a later one was thrown while cleaning up. */
function original(thrown: unknown): unknown {
  return thrown instanceof SuppressedError ? original(thrown.suppressed) : thrown;
}
