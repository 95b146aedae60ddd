/** Options that several commands share. */

import { type Command, InvalidArgumentError, Option } from "commander";
import { BACKEND_CHOICES, type BackendChoice } from "../../host/backends.ts";

/** The options of every command. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** The options that choose where layers are solved. */
export interface ConnectOptions {
  readonly server?: string;
  readonly apiKey?: string;
  readonly backend: BackendChoice;
}

/** Declares `--json` and `--debug`. */
export function addCommonOptions(command: Command): Command {
  return command
    .option("--json", "print the result as one JSON object, on the last line of standard output")
    .option("--debug", "print the stack of a failure");
}

/** Declares `--backend`. */
export function addBackendOption(command: Command): Command {
  return command.addOption(
    new Option("--backend <kind>", "where to compute; auto chooses a GPU if there is one, else cpu")
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

/** Declares `--server`, which may be repeated, `--jobs` and `--api-key`. */
export function addHostPoolOptions(command: Command): Command {
  return command
    .option(
      "--server <url>",
      "solve on this host or edge; may be repeated to use several (default: in this process)",
      (url: string, earlier: readonly string[]) => [...earlier, httpUrl(url)],
      [],
    )
    .option("--jobs", "solve in durable jobs of the edge (default: if the server lists hosts)")
    .option("--no-jobs", "solve in single requests, even if the server is an edge")
    .addOption(apiKeyOption());
}

function apiKeyOption(): Option {
  return new Option("--api-key <key>", "API key of the server").env("PARE_API_KEY");
}

function httpUrl(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? "")) {
    throw new InvalidArgumentError("It must be an http or https URL, such as http://127.0.0.1:8000.");
  }
  return text;
}
