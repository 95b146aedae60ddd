/** Declares the options that several commands share. */

import { type Command, InvalidArgumentError, Option } from "commander";
import { BACKEND_CHOICES, type BackendChoice } from "../../host/backends.ts";
import { appendValue } from "./repeatable.ts";

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

/** The options of a command that solves layers in this process, on several servers, or in jobs of an edge. */
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
    .option("--server <url>", "solve on this host (default: in this process)", httpUrl)
    .addOption(apiKeyOption());
}

/** Declares `--server`, which may be repeated, `--jobs`, `--no-jobs` and `--api-key`. */
export function addHostPoolOptions(command: Command): Command {
  return command
    .option(
      "--server <url>",
      "solve on this host or edge; may be repeated to use several hosts (default: in this process)",
      (url: string, earlier: readonly string[]) => appendValue(httpUrl(url), earlier),
      [],
    )
    .option("--jobs", "solve in durable jobs of the edge (default: if the server lists registered hosts)")
    .option(
      "--no-jobs",
      "send layers one by one instead of in jobs, even if the server lists registered hosts",
    )
    .addOption(apiKeyOption());
}

function apiKeyOption(): Option {
  return new Option("--api-key <key>", "API key of the server").env("PARE_API_KEY");
}

/** Checks that `text` is an HTTP URL, and returns it. */
function httpUrl(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? "")) {
    throw new InvalidArgumentError("It must be an http or https URL, such as http://127.0.0.1:8000.");
  }
  return text;
}
