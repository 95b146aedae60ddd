/**
 * Declares the options that several commands share: their types, the functions that add them to a command,
 * and the parsers of their values.
 */

import { type Command, InvalidArgumentError, Option } from "commander";
import { BACKEND_CHOICES, type BackendChoice } from "../../host/backends.ts";
import type { Model } from "../../models/model.ts";

/** The options of every command. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** The options of a command that solves layers in this process or on one server. */
export interface ConnectOptions {
  readonly server?: string;
  readonly apiKey?: string;
  readonly backend: BackendChoice;
}

/**
 * The options of a command that solves layers in this process, on one or more hosts, or in jobs of an edge. A
 * host is a server that solves layers. An edge is a server that passes layers on to its registered hosts.
 */
export interface HostPoolFlags {
  /** The values of `--server`. */
  readonly server: readonly string[];
  readonly apiKey?: string;
  /** True for `--jobs`, false for `--no-jobs`. Undefined means jobs if the server lists hosts. */
  readonly jobs?: boolean;
}

/** Declares `--json` and `--debug`. */
export function addCommonOptions(command: Command): Command {
  return command
    .option("--json", "print the result as one JSON object, on the last line of standard output")
    .option("--debug", "print the stack trace of a failure");
}

/** Declares `--backend`. */
export function addBackendOption(command: Command): Command {
  return command.addOption(
    new Option("--backend <kind>", "where to compute; auto uses the GPU if there is one, else the CPU")
      .choices(BACKEND_CHOICES)
      .default("auto"),
  );
}

/** Declares `--server` and `--api-key`. */
export function addServerOptions(command: Command): Command {
  return command
    .option("--server <url>", "solve the layers on this host (default: in this process)", httpUrl)
    .addOption(apiKeyOption());
}

/** Declares `--server`, which may be repeated, `--jobs`, `--no-jobs` and `--api-key`. */
export function addHostPoolOptions(command: Command): Command {
  return command
    .option(
      "--server <url>",
      "solve the layers on this host, or on the hosts of this edge; may be repeated for several hosts " +
        "(default: in this process)",
      (url: string, earlier: readonly string[]) => appendValue(httpUrl(url), earlier),
      [],
    )
    .option(
      "--jobs",
      "send the layers to the edge in durable jobs (default: if the server lists registered hosts)",
    )
    .option(
      "--no-jobs",
      "send the layers one by one instead of in jobs, even if the server lists registered hosts",
    )
    .addOption(apiKeyOption());
}

function apiKeyOption(): Option {
  return new Option("--api-key <key>", "API key of the server").env("PARE_API_KEY");
}

/** The default of `--samples`. It is the number of calibration windows in the code of SparseGPT's authors. */
const DEFAULT_SAMPLES = 128;

/** Declares `--calibration`, which must be given. */
export function addCalibrationOption(command: Command): Command {
  return command.requiredOption(
    "--calibration <file>",
    "text to calibrate on: .txt, or .jsonl with one document per line",
  );
}

/** Declares `--samples`. */
export function addSamplesOption(command: Command): Command {
  return command.option(
    "--samples <n>",
    "number of windows to calibrate on, which are pieces of the text",
    integer(1),
    DEFAULT_SAMPLES,
  );
}

/**
 * The largest default of `--seqlen`, which is the window length in the code of SparseGPT's authors. Longer
 * windows cost more and change the results little.
 */
const MAX_DEFAULT_SEQLEN = 2048;

/** Declares `--seqlen`, an integer of `least` or more. */
export function addSeqlenOption(command: Command, least: number): Command {
  return command.option(
    "--seqlen <n>",
    `tokens per window (default: the number of positions of the model, at most ${MAX_DEFAULT_SEQLEN})`,
    integer(least),
  );
}

/** Returns the number of tokens per window: `seqlen` if it is given, else the default for the model. */
export function windowTokens(model: Model, seqlen?: number): number {
  return seqlen ?? Math.min(model.spec.maxTokens, MAX_DEFAULT_SEQLEN);
}

/** Checks that `text` is an HTTP URL, and returns it. */
function httpUrl(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? "")) {
    throw new InvalidArgumentError("It must be an http or https URL, such as http://127.0.0.1:8000.");
  }
  return text;
}

/**
 * Returns a parser of decimal integers from `least` to `most`. The parser throws an InvalidArgumentError, which commander
 * reports together with the option and its value.
 */
export function integer(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most)) {
      const range = most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`;
      throw new InvalidArgumentError(`It must be an integer ${range}.`);
    }
    return value;
  };
}

/** Returns the earlier values of the option followed by `value`. Commander calls it for each use of the option. */
export function appendValue(value: string, earlier: readonly string[]): string[] {
  return [...earlier, value];
}
