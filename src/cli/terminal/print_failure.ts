/** Reports why a command failed. */

import { CommanderError } from "commander";
import { CheckFailedError } from "../errors.ts";
import { FileError } from "../../base/files/file_error.ts";
import { printableLine, printableText } from "../../base/texts.ts";
import type { Failure } from "./exit.ts";
import { printToOutput } from "./output.ts";

/** The options of the command that decide what is printed. */
export interface FailureOutput {
  /** Whether to print the failure as a JSON object on standard output too. */
  readonly json: boolean;
  /** Whether to print the stack trace. */
  readonly debug: boolean;
}

/** Prints `error`, which `failure` describes: a line on standard error, and with `--json` an object on standard output. */
export function printFailure(error: unknown, failure: Failure, { json, debug }: FailureOutput): void {
  const { kind, exitCode, message, answer } = failure;
  // Commander has printed its own errors, and a failed check has printed its result.
  const isUnprinted = !(error instanceof CommanderError), hasResult = error instanceof CheckFailedError;
  if (isUnprinted) console.error(`error: ${printableLine(message)}`);
  if (kind === "defect" && !debug) {
    console.error("this is a defect of Pare; with --debug the command prints a stack trace to report");
  }
  if (debug && isUnprinted && error instanceof Error) console.error(printableText(Deno.inspect(error)));
  if (!json || hasResult) return;
  const fields = { kind, exit_code: exitCode, message, code: answer?.code, request_id: answer?.requestId };
  try {
    printToOutput(printableLine(JSON.stringify({ error: fields })));
  } catch (error) {
    if (!(error instanceof FileError)) throw error; // standard error has the message already
  }
}
