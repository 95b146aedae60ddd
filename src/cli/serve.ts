/**
 * `pare serve` runs a host, the HTTP server that prunes layers, until it is stopped. The log is written to
 * standard error, one JSON object per line.
 */

import { Command, Option } from "commander";
import { parseEdgeOptions } from "../host/edge_options.ts";
import { parseRequireGpu } from "../host/backends.ts";
import { Refusal } from "../protocol/refusal.ts";
import { parseHostNames } from "../protocol/host_names.ts";
import { parseOrigins } from "../protocol/cors.ts";
import type { LogEntry } from "../host/metrics.ts";
import { readKeySettings } from "../../routes/key_settings.ts";
import { serve, type ServeOptions } from "../../routes/serve.ts";
import { messageOf } from "../base/errors.ts";
import { InUseError } from "../base/files/file_error.ts";
import { STATES_DISK_GIB } from "../protocol/limits.ts";
import { RefusedError, UsageError } from "./errors.ts";
import { requireWritableFolder } from "./files/output_path.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import {
  addBackendOption,
  addCommonOptions,
  type CommonOptions,
  integer,
  listeningAddress,
} from "./options/common_options.ts";
import { addRunsOptions, type RunFlags, runsOptions } from "./serve/runs.ts";
import { addExample } from "./options/help.ts";
import { Output } from "./terminal/output.ts";

/**
 * The end of the help text, which lists the environment variables. The variables of `--keys-file`, `--edge` and
 * `--public-url` are missing here because commander prints them with the options.
 */
const ENVIRONMENT = `
Environment:
  PARE_KEYS          comma-separated SHA-256 digests of the keys that the host accepts, in hexadecimal, each
                     optionally with scopes: HEX:SCOPE+SCOPE. Without keys every request is accepted
  PARE_CORS_ORIGINS  comma-separated origins of the pages that may use the API from a browser
  PARE_REQUIRE_GPU   1 has the effect of --require-gpu
  PARE_HOSTS         comma-separated names by which clients may address the host, without ports. By default these
                     are the names of loopback, or every name if the host listens beyond loopback
  EDGE_HOST_SECRET   the secret, 32 bytes or more, that the host shares with the edge; needed for tasks, which
                     are layers that the edge sends
  PARE_BLOB_ORIGINS  comma-separated origins from which the host may fetch the tensors of tasks and to which
                     it may write the answers; needed for tasks
  PARE_HOST_ID       the id under which an edge knows the host; needed if the edge wakes the host by a request`;

/** The options as commander parses them. */
interface ServeCommandOptions extends CommonOptions, RunFlags {
  readonly host: string;
  readonly port: number;
  readonly requireGpu?: boolean;
  readonly queue: number;
  readonly states?: string;
  readonly statesGib: number;
  readonly keysFile?: string;
  readonly edge?: string;
  readonly publicUrl?: string;
}

/** Returns the command `pare serve`. `signal` shuts the host down. */
export function createServeCommand(signal: AbortSignal): Command {
  const command = new Command("serve")
    .description("start a host, which prunes the layers that clients send over HTTP")
    .addHelpText("after", ENVIRONMENT)
    .option(
      "--host <address>",
      "address to listen on; without keys it must be an address of loopback",
      listeningAddress,
      "127.0.0.1",
    )
    .addOption(
      new Option("--port <n>", "port to listen on; 0 chooses a free port")
        .env("PORT")
        .argParser(integer(0, 65535))
        .default(8000),
    )
    .option("--require-gpu", "end instead of computing on the CPU, or on a GPU that the CPU emulates")
    .option(
      "--queue <n>",
      "number of layers that may wait before the host answers that it is busy",
      integer(0),
      16,
    )
    .option(
      "--states <folder>",
      "folder for the hidden states of pare prune --remote that do not fit in memory, and while the host restarts",
    )
    .option(
      "--states-gib <n>",
      "the most GiB of hidden states in this folder; the oldest are removed",
      integer(1),
      STATES_DISK_GIB,
    )
    .addOption(
      new Option(
        "--keys-file <path>",
        "file of the accepted keys, one per line, in place of PARE_KEYS; the host reads it again when it changes",
      )
        .env("PARE_KEYS_FILE"),
    )
    .addOption(
      new Option(
        "--edge <url>",
        "register at this edge, a server that sends layers to its hosts; needs EDGE_HOST_SECRET and PARE_BLOB_ORIGINS",
      )
        .env("PARE_EDGE"),
    )
    .addOption(
      new Option(
        "--public-url <url>",
        "URL at which the edge reaches this host (default: the address that it listens on)",
      )
        .env("PARE_PUBLIC_URL"),
    );
  addCommonOptions(addBackendOption(addRunsOptions(command)));
  addExample(command, "serve --port 8123", "serve --host 0.0.0.0 --backend webgpu    (with PARE_KEYS set)");
  return command.action((options: ServeCommandOptions) => serveUntil(signal, options));
}

async function serveUntil(signal: AbortSignal, options: ServeCommandOptions): Promise<void> {
  const output = new Output(options.json ?? false);
  const settings = await readEnvironment(options);
  if (options.states !== undefined) await requireWritableFolder("--states", options.states);
  const runs = await runsOptions(options);
  const host = await namingPort(options, () =>
    serve({
      ...settings,
      backend: options.backend,
      products: options.products,
      precision: options.precision,
      webgpu: options.webgpu,
      hostname: options.host,
      port: options.port,
      device: { queueDepth: options.queue },
      states: statesFolder(options),
      runs,
      log: (record) => {
        output.remark(JSON.stringify({ time: new Date().toISOString(), ...record }));
        if (record.event === "listening") announce(record, output);
      },
    }));
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await host.shutdown();
}

function statesFolder({ states: folder, statesGib }: ServeCommandOptions): ServeOptions["states"] {
  return folder === undefined ? undefined : { fs: denoFileSystem, folder, budgetBytes: statesGib * 2 ** 30 };
}

/** Reads what only variables of the environment say. @throws {UsageError} naming the variable or file that is malformed or missing */
async function readEnvironment(
  { edge, publicUrl, keysFile, requireGpu }: ServeCommandOptions,
): Promise<Pick<ServeOptions, "keys" | "keyFile" | "hostNames" | "corsOrigins" | "requireGpu" | "edge">> {
  const hostNames = Deno.env.get("PARE_HOSTS");
  try {
    return {
      ...await readKeySettings(Deno.env.get("PARE_KEYS"), keysFile),
      hostNames: hostNames === undefined ? undefined : parseHostNames(hostNames),
      corsOrigins: parseOrigins(Deno.env.get("PARE_CORS_ORIGINS") ?? ""),
      requireGpu: requireGpu || parseRequireGpu(Deno.env.get("PARE_REQUIRE_GPU")),
      edge: parseEdgeOptions({
        secret: Deno.env.get("EDGE_HOST_SECRET"),
        blobOrigins: Deno.env.get("PARE_BLOB_ORIGINS"),
        edge,
        publicUrl,
        hostId: Deno.env.get("PARE_HOST_ID"),
      }),
    };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}

/**
 * Runs `start`, which listens on a port, and names the port or the address in its errors.
 * @throws {InUseError} if another program uses the port
 * @throws {UsageError} if this user may not use the port, or if the address does not belong to this machine
 * @throws {RefusedError} if a GPU is required and there is none
 */
async function namingPort<T>({ host, port }: ServeCommandOptions, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (cause) {
    // `serve` refuses an address beyond loopback without keys.
    if (cause instanceof RangeError) throw new UsageError(`option --host: ${cause.message}`, { cause });
    if (cause instanceof Refusal) throw new RefusedError(cause.message, { cause });
    if (cause instanceof Deno.errors.AddrInUse) {
      throw new InUseError(`option --port ${port}: another program uses this port`, { cause });
    }
    if (cause instanceof Deno.errors.PermissionDenied) {
      throw new UsageError(`option --port ${port}: permission is denied; use a port from 1024`, { cause });
    }
    if (cause instanceof Deno.errors.AddrNotAvailable || /failed to lookup address/.test(messageOf(cause))) {
      throw new UsageError(`option --host ${host}: is not an address of this machine`, { cause });
    }
    throw cause;
  }
}

/** Prints the address of the host, as the result of the command. */
function announce({ url, backend, adapter, auth }: LogEntry, output: Output): void {
  output.result({ url, backend, adapter }, [`listening on ${url} (${backend}: ${adapter}; ${auth})`]);
}
