/** Declares the options that name the servers of a command, and the key for them. */

import { type Command, InvalidArgumentError, Option } from "commander";
import { UsageError } from "../errors.ts";

/** The value of `--server` for which layers are solved in this process, even if the environment names a server. */
const LOCAL = "local";

/** The options of a command with one server. */
export interface ServerFlags {
  readonly server?: string;
  readonly apiKey?: string;
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

/** Declares `--server` and `--api-key`. */
export function addServerOptions(command: Command): Command {
  return command
    .addOption(
      serverOption("solve the layer on this host; local solves it in this process (default: local)")
        .argParser(httpUrl),
    )
    .addOption(apiKeyOption());
}

/** Declares `--server` and `--api-key` for commands that need an edge. */
export function addEdgeOptions(command: Command): Command {
  return command
    .addOption(serverOption("the URL of the edge").argParser(httpUrl).makeOptionMandatory())
    .addOption(apiKeyOption());
}

/** Declares `--server`, which may be repeated, `--jobs`, `--no-jobs` and `--api-key`. */
export function addHostPoolOptions(command: Command): Command {
  const server = serverOption(
    "solve the layers on this host, or on the hosts of this edge; may be repeated for several hosts; " +
      "local solves them in this process (default: local)",
  );
  return command
    .addOption(
      server.argParser((url: string, earlier: readonly string[]) => [...earlier, httpUrl(url)]).default([]),
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

/** Returns the URL of the server, or undefined if layers are solved in this process. */
export function serverUrl({ server }: ServerFlags): string | undefined {
  return server === LOCAL ? undefined : server;
}

/**
 * Returns the URLs of the servers. There are none if layers are solved in this process.
 * @throws {UsageError} if `local` is combined with other servers, or `--jobs` is used without exactly one server
 */
export function serverUrls({ server, jobs }: HostPoolFlags): readonly string[] {
  if (server.includes(LOCAL) && server.length > 1) {
    throw new UsageError("option --server local: cannot be combined with other servers");
  }
  const urls = server.filter((url) => url !== LOCAL);
  if (!jobs || urls.length === 1) return urls;
  throw new UsageError(
    `option --jobs: needs exactly one --server, which must be an edge; got ${urls.length}`,
  );
}

/** Returns the URL of the edge. @throws {UsageError} if layers would be solved in this process */
export function edgeUrl({ server }: ServerFlags): string {
  if (server !== undefined && server !== LOCAL) return server;
  throw new UsageError("option --server local: must be the URL of an edge, because only an edge has jobs");
}

function serverOption(description: string): Option {
  return new Option("--server <url>", description).env("PARE_SERVER");
}

function apiKeyOption(): Option {
  return new Option("--api-key <key>", "API key of the server").env("PARE_API_KEY");
}

/** Checks that `text` is an HTTP URL or `local`, and returns it. */
function httpUrl(text: string): string {
  if (text !== LOCAL && !/^https?:$/.test(URL.parse(text)?.protocol ?? "")) {
    throw new InvalidArgumentError(
      "It must be an http or https URL, such as http://127.0.0.1:8000, or local.",
    );
  }
  return text;
}
