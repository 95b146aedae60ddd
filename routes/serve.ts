/** Starts a host, the server that prunes layers on one device. `pare serve` and tests call `serve`. */

import type { Backend } from "../src/device/backend.ts";
import { type BackendChoice, type BackendLibraries, selectBackend } from "../src/host/backends.ts";
import type { EdgeOptions } from "../src/host/edge_options.ts";
import { createHostServices, type HostSettings } from "../src/host/host_services.ts";
import { type ConnectionLimits, DEFAULT_CONNECTION_LIMITS } from "../src/host/listener.ts";
import { listen } from "../src/host/listen.ts";
import { StatesFolder, type StatesFolderOptions } from "../src/host/blocks/states_folder.ts";
import type { KeyFile } from "../src/host/key_file.ts";
import type { LogEntry } from "../src/host/metrics.ts";
import { register } from "../src/host/registration.ts";
import { Runs, type RunsOptions } from "../src/host/runs/runs.ts";
import { MAX_WHOLE_BYTES } from "../src/host/transfers.ts";
import { TaskRegistry } from "../src/host/tasks/task_registry.ts";
import { SAFETENSORS_TYPE } from "../src/protocol/headers.ts";
import { isLoopbackName } from "../src/protocol/host_names.ts";
import { DRAIN_SECONDS } from "../src/protocol/limits.ts";
import { settlesWithin } from "../src/base/waiting.ts";
import type { PageFiles } from "../src/pages/page_files.ts";
import { createApp } from "./app.ts";

export interface ServeOptions
  extends Omit<HostSettings, "edge" | "docsScript" | "keyFile" | "runs">, BackendLibraries {
  /** The file of the accepted keys, which the host reads again every few seconds. Replaces `keys`. @default none */
  readonly keyFile?: KeyFile;
  /** @default "auto" */
  readonly backend?: BackendChoice;
  /** Whether the host ends if its device is not a GPU, or cannot be opened. @default false */
  readonly requireGpu?: boolean;
  readonly open?: () => Promise<Backend>;
  /** The address to listen on, without keys one of loopback. @default "0.0.0.0", and "127.0.0.1" without keys */
  readonly hostname?: string;
  /** The port to listen on. 0 chooses a free port. @default 8000 */
  readonly port?: number;
  /** Called once per request, and for events such as a registration. @default prints each entry as a line of JSON */
  readonly log?: (entry: LogEntry) => void;
  /** The limits of the connections. @default DEFAULT_CONNECTION_LIMITS */
  readonly connections?: Partial<ConnectionLimits>;
  /** The time for which requests may go on when the host shuts down. @default 1000 * DRAIN_SECONDS */
  readonly drainMilliseconds?: number;
  /** The folder for hidden states that the host has no memory for, and its budget. @default such states are lost */
  readonly states?: Omit<StatesFolderOptions, "log">;
  /** The folder for runs of whole models, and how to run them. @default the host accepts no runs */
  readonly runs?: Omit<RunsOptions, "log">;
  /** The edge at which the host registers. It gives tasks, which are layers, to the host. */
  readonly edge?: EdgeOptions;
}

export interface Host {
  /** `http://HOST:PORT`, without a slash at the end. */
  readonly url: string;
  /** Refuses new layers, finishes the others within the drain time, and frees the device and the port. Idempotent. */
  shutdown(): Promise<void>;
}

const LOOPBACK = "127.0.0.1";

/** The time for which aborted requests may free their memory before the device is closed, in milliseconds. */
const ABORT_MILLISECONDS = 1000;

const DEFAULT_PORT = 8000;

/**
 * Starts a host. It listens at once, so that a platform sees that the process is up, and then opens its device.
 * @throws {Refusal} `no_device` if a GPU is required and there is none that computes right results
 * @throws {RangeError} if the address is not one of loopback and there are no keys
 * @throws {InUseError} {FileError} if the folder for hidden states cannot be used
 * @throws the system's error if the port is not available
 */
export async function serve(options: ServeOptions = {}): Promise<Host> {
  const {
    keyFile,
    keys = keyFile?.current ?? [],
    log = printJsonLine,
    port = DEFAULT_PORT,
    backend = "auto",
    products,
    precision,
    webgpu,
    requireGpu = false,
  } = options;
  const { drainMilliseconds = DRAIN_SECONDS * 1000 } = options;
  const edge = options.edge && {
    ...options.edge,
    hostId: options.edge.hostId ?? crypto.randomUUID(),
    tasks: new TaskRegistry(),
  };
  const { hostname = keys.length > 0 ? "0.0.0.0" : LOOPBACK } = options;
  if (keys.length === 0 && !isLoopbackName(hostname)) {
    throw new RangeError(
      `address ${hostname}: a host without API keys listens on loopback only. Set PARE_KEYS`,
    );
  }
  const open = options.open ??
    (() => selectBackend(backend, { products, precision, webgpu, requireGpu, log }));
  const statesFolder = options.states && await StatesFolder.open({ ...options.states, log });
  const runs = options.runs && await Runs.open({ ...options.runs, log });
  const services = createHostServices(open, {
    runs,
    keys,
    keyFile,
    corsOrigins: options.corsOrigins,
    hostNames: acceptedHostNames(hostname, options),
    log,
    limits: options.limits,
    device: { ...options.device, statesFolder },
    docsScript: readDocsScript,
    edge,
  });
  const { device } = services;
  const app = createApp(services, await readPageFiles());
  const inFlight = new Set<Promise<Response>>();
  const listener = listen({
    hostname,
    port,
    limits: { ...DEFAULT_CONNECTION_LIMITS, ...options.connections },
    handler: (request, sent) => {
      const response = Promise.resolve(app.fetch(request, { sent }));
      inFlight.add(response);
      return response.finally(() => inFlight.delete(response));
    },
    isPaced,
    log,
    clock: services.clock,
  });
  await device.start();
  const obstacle = device.unavailableReason();
  if (requireGpu && obstacle) {
    await listener.close();
    throw obstacle;
  }
  const name = hostname === "0.0.0.0" ? LOOPBACK : hostname.includes(":") ? `[${hostname}]` : hostname;
  const url = `http://${name}:${listener.port}`;
  const openBackend = device.current()?.backend;
  log({
    event: "listening",
    url,
    hostname,
    backend: openBackend?.kind ?? "none",
    adapter: openBackend?.adapter.name ?? device.unavailableReason()?.message,
    auth: keys.length > 0
      ? `${keys.length} ${keys.length === 1 ? "key" : "keys"}`
      : "no keys are set: listening on loopback only",
  });
  const stopKeyFile = keyFile?.watch(log);
  const registration = edge?.url === undefined
    ? undefined
    : register({ ...edge, edge: edge.url, publicUrl: edge.publicUrl ?? url, device, log });
  const drain = async () => {
    await edge?.tasks.close();
    device.stopAccepting();
    await runs?.[Symbol.asyncDispose]();
    // The listener lets answers finish, but aborts requests whose body is still arriving. All requests end first.
    await Promise.allSettled(inFlight);
    await listener.close();
  };
  let shutdownPromise: Promise<void> | undefined;
  const shutdown = async () => {
    stopKeyFile?.();
    await registration?.stop();
    if (!await settlesWithin(drain(), drainMilliseconds)) {
      log({ event: "aborted", requests: inFlight.size, connections: listener.connections });
      device.stopAccepting();
      edge?.tasks.abort();
      listener.abort();
      await settlesWithin(Promise.allSettled(inFlight), ABORT_MILLISECONDS);
    }
    await device.close();
    await runs?.[Symbol.asyncDispose]();
    await statesFolder?.[Symbol.asyncDispose]();
    log({ event: "stopped" });
  };
  return { url, shutdown: () => shutdownPromise ??= shutdown() };
}

/** Whether an answer fails by itself if its client is too slow: a stream of `answerStream`, or of events. */
export function isPaced({ headers }: Response): boolean {
  const type = headers.get("Content-Type");
  if (type === "text/event-stream") return true;
  return (type === SAFETENSORS_TYPE || type === "application/octet-stream") &&
    Number(headers.get("Content-Length")) > MAX_WHOLE_BYTES;
}

/**
 * Returns the names that the host accepts besides those of loopback, or undefined if it accepts every name. The names
 * protect a host without keys from web pages that point their own name to its address. A host beyond loopback has keys,
 * which such a page does not know.
 */
function acceptedHostNames(
  hostname: string,
  { hostNames, edge }: ServeOptions,
): readonly string[] | undefined {
  if (hostNames === undefined && !isLoopbackName(hostname)) return undefined;
  const publicUrl = edge?.publicUrl;
  return [...hostNames ?? [], ...publicUrl === undefined ? [] : [new URL(publicUrl).hostname]];
}

/** Reads the script that `deno task build docs` has written. Returns undefined if there is none. */
async function readDocsScript(): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return await Deno.readFile(new URL("../build/scalar.js.gz", import.meta.url));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Reads the files of the pages that `deno task build` has written. Returns undefined if there are none. */
async function readPageFiles(): Promise<PageFiles | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(new URL("../build/pages/files.json", import.meta.url)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function printJsonLine(entry: LogEntry): void {
  console.log(JSON.stringify({ time: new Date().toISOString(), ...entry }));
}
