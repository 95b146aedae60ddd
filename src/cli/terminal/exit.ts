/**
 * Classifies the error that a command threw. The class decides the exit code, by which a script or a scheduler
 * can tell whether it helps to start the same command again.
 */

import { CommanderError } from "commander";
import { DeviceLostError, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "../../client/errors.ts";
import { JobFailedError } from "../../client/jobs/prune_by_job.ts";
import { DamagedFileError, FileError, InUseError, ModelError } from "../../base/files/file_error.ts";
import { HubUnreachable } from "../../model/hub/hub_access.ts";
import { OtherRunError } from "../../prune/run/fingerprint.ts";
import { SafetensorsError } from "../../tensor/safetensors/error.ts";
import { Interrupted, RefusedError, UsageError } from "../errors.ts";

/** The kinds of failures with their exit codes. Interrupted commands have codes of their own. */
const EXIT_CODES = { defect: 1, usage: 2, refused: 3, try_again: 4 } as const;

/** The kind of a failure. The page of this folder says what each kind means. */
export type FailureKind = keyof typeof EXIT_CODES | "interrupted";

/** The report of an error: its kind, the exit code and the message. */
export interface Failure {
  readonly kind: FailureKind;
  readonly exitCode: number;
  /** One line without the word `error`. */
  readonly message: string;
  /** The error of a server that caused the failure. */
  readonly answer?: PareError;
}

/** Errors that are always of the same kind. */
const KINDS: readonly (readonly [type: abstract new (...args: never[]) => Error, kind: FailureKind])[] = [
  [CommanderError, "usage"],
  [UsageError, "usage"],
  [OtherRunError, "usage"],
  [Deno.errors.NotCapable, "usage"], // Deno runs the command with fewer permissions than it needs
  [RefusedError, "refused"],
  [ModelError, "refused"],
  [SafetensorsError, "refused"],
  [OutOfDeviceMemoryError, "refused"],
  [MalformedAnswerError, "refused"],
  [DamagedFileError, "try_again"],
  [InUseError, "try_again"],
  [HubUnreachable, "try_again"],
  [DeviceLostError, "try_again"],
  [Interrupted, "interrupted"],
];

/** The status of a request whose key is missing or not accepted. */
const UNAUTHORIZED = 401;

/** The status of a body that arrived too slowly. Another attempt may be faster. */
const TOO_SLOW = 408;

/** The code of a layer whose job somebody cancelled. */
const CANCELLED = "cancelled";

/** The code of an error answer that has none. */
const NO_CODE = "unknown";

/** Describes the error that a command threw. */
export function failureOf(thrown: unknown): Failure {
  const error = firstError(thrown), kind = kindOf(error);
  const message = error instanceof Error ? error.message || error.name : String(error);
  return {
    kind,
    exitCode: error instanceof Interrupted ? error.exitCode : EXIT_CODES[kind as keyof typeof EXIT_CODES],
    message: message.trim().replace(/^error: /, "").replace(/\s*\n\s*/g, "; ") + adviceFor(error),
    answer: error instanceof PareError ? error : undefined,
  };
}

/** Returns the end of the message that names the option which helps. */
function adviceFor(error: unknown): string {
  const isKeyRefused = error instanceof PareError && error.status === UNAUTHORIZED;
  return isKeyRefused ? ". The key is the value of --api-key or PARE_API_KEY" : "";
}

function kindOf(error: unknown): FailureKind {
  if (error instanceof PareError) return kindOfAnswer(error);
  if (
    error instanceof FileError || error instanceof JobFailedError || error instanceof ConnectionError
  ) {
    return error.isTransient ? "try_again" : "refused";
  }
  return KINDS.find(([type]) => error instanceof type)?.[1] ?? "defect";
}

function kindOfAnswer({ status, code, isTransient }: PareError): FailureKind {
  if (isTransient || status === TOO_SLOW) return "try_again";
  // An answer without a code does not come from Pare, but from a proxy or from another program.
  return status >= 500 && code !== CANCELLED && code !== NO_CODE ? "defect" : "refused";
}

/** Returns the error that stopped the command, even if the cleanup after this error failed as well. */
function firstError(thrown: unknown): unknown {
  return thrown instanceof SuppressedError ? firstError(thrown.suppressed) : thrown;
}
