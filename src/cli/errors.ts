/** The errors of the command line itself. */

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
