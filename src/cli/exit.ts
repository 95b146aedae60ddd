/** How a command ends: the exit codes, and the one line that tells a failure. */

import { CommanderError } from "commander";

/** The command line contradicts itself or a rule of the contract. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A signal told the command to stop. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(readonly by: keyof typeof STOP_SIGNALS) {
    super(`stopped by ${by}`);
  }
}

/** The signals that stop a command, with their numbers: 128 more is the exit code that shells expect then. */
export const STOP_SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/** The exit code for what a command threw. */
export function exitCode(thrown: unknown): number {
  const error = original(thrown);
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) return 2;
  return error instanceof Interrupted ? 128 + STOP_SIGNALS[error.by] : 1;
}

/** The line for what a command threw; undefined where commander has already told. */
export function failureLine(thrown: unknown): string | undefined {
  const error = original(thrown);
  if (error instanceof CommanderError) return undefined;
  const message = error instanceof Error ? error.message || error.name : String(error);
  return `error: ${message.trim().replace(/\s*\n\s*/g, "; ")}`;
}

/** What went wrong first, where cleaning up after it failed too. */
function original(thrown: unknown): unknown {
  return thrown instanceof SuppressedError ? original(thrown.suppressed) : thrown;
}
