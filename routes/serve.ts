/**
 * Starts a host: opens a backend, listens, and shuts down in order. Other code calls `serve(options)`. As a program, this file reads its
 * options from environment variables:
 *
 *     PARE_BACKEND           auto, webgpu or cpu
 *     PARE_HOST, PARE_PORT   the address to listen on; port 0 chooses a free port
 *     PARE_KEYS              HEX[:SCOPE+SCOPE],…; without keys the host listens on loopback only
 *     PARE_EDGE, PARE_PUBLIC_URL, EDGE_HOST_SECRET, PARE_BLOB_ORIGINS   how to work with an edge (`src/host/edge_options.ts`)
 */

import type { Backend } from "../src/backend/backend.ts";
import { Device, type DeviceOptions } from "../src/host/device.ts";
import { MAX_BODY_BYTES } from "../src/protocol/limits.ts";
import { VERSION } from "../src/protocol/version.ts";

import { createApp } from "./app.ts";
import { BACKEND_CHOICES, type BackendChoice, selectBackend } from "../src/host/backends.ts";
import { type EdgeOptions, parseEdgeOptions } from "../src/host/edge_options.ts";
import type { HostLimits } from "./host_env.ts";
import { type Key, parseKeys } from "../src/protocol/keys.ts";
import type { LogRecord } from "../src/host/log_record.ts";
import { HostMetrics } from "../src/host/metrics.ts";
import { register } from "../src/host/registration.ts";
import { TaskBook } from "../src/host/tasks/task_book.ts";

/** Options of a host. All have defaults. */
export interface ServeOptions {
  readonly backend?: BackendChoice;
  /** Opens the backend. Overrides `backend`. */
  readonly open?: () => Promise<Backend>;
  /** The address to listen on. Without keys the host always listens on loopback. */
  readonly hostname?: string;
  /** The port to listen on. 0 chooses a free port. */
  readonly port?: number;
  readonly keys?: readonly Key[];
  readonly log?: (record: LogRecord) => void;
  readonly limits?: Partial<HostLimits>;
  readonly device?: Partial<Omit<DeviceOptions, "clock">>;
  /** The edge from which the host takes tasks, and at which it registers. */
  readonly edge?: EdgeOptions;
}

/** A listening host. */
export interface Host {
  /** `http://HOST:PORT`, without a slash at the end. */
  readonly url: string;
  /** Refuses new layers, finishes the current ones, stops listening and frees the device. Idempotent. */
  shutdown(): Promise<void>;
}

const LOOPBACK = "127.0.0.1";
const DEFAULT_PORT = 8000;
/** One layer is solved while another is read and a third is answered. */
const DEFAULT_RESIDENTS = 3;
const DEFAULT_QUEUE_DEPTH = 16;
/** A client without any transfer for a minute is most likely gone, and still holds device memory. */
const DEFAULT_IDLE_MILLISECONDS = 60_000;

/** Starts a host. @throws the system's error if the port is not available, or the error of the backend */
export async function serve(options: ServeOptions = {}): Promise<Host> {
  const { keys = [], log = writeJsonLine, port = DEFAULT_PORT, backend = "auto" } = options;
  const clock = () => performance.now();
  const capacity = options.device?.residents ?? DEFAULT_RESIDENTS;
  const link = options.edge && {
    ...options.edge,
    hostId: crypto.randomUUID(),
    tasks: new TaskBook(),
  };
  const device = new Device(options.open ?? (() => selectBackend(backend)), {
    residents: DEFAULT_RESIDENTS,
    queueDepth: DEFAULT_QUEUE_DEPTH,
    ...options.device,
    clock,
  });
  await device.start();
  const app = createApp({
    device,
    metrics: new HostMetrics(device),
    keys,
    log,
    clock,
    limits: { maxBodyBytes: MAX_BODY_BYTES, idleMilliseconds: DEFAULT_IDLE_MILLISECONDS, ...options.limits },
    version: VERSION,
    edge: link,
  });
  const hostname = keys.length > 0 ? options.hostname ?? "0.0.0.0" : LOOPBACK;
  const inFlight = new Set<Promise<Response>>();
  const server = Deno.serve({ hostname, port, onListen: () => {} }, (request) => {
    const response = Promise.resolve(app.fetch(request));
    inFlight.add(response);
    return response.finally(() => inFlight.delete(response));
  });
  const url = `http://${hostname === "0.0.0.0" ? LOOPBACK : hostname}:${server.addr.port}`;
  const used = device.current()?.backend;
  log({
    event: "listening",
    url,
    hostname,
    backend: used?.kind ?? "none",
    adapter: used?.adapter.name ?? device.fault()?.message,
    auth: keys.length > 0 ? `${keys.length} keys` : "no keys are set: listening on loopback alone",
  });
  const registration = link?.url === undefined
    ? undefined
    : register({ ...link, edge: link.url, publicUrl: link.publicUrl ?? url, device, capacity, log });
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    await registration?.stop();
    await link?.tasks.close();
    device.retire();
    // Deno's shutdown finishes answers but breaks off bodies that are still arriving, so these are awaited first.
    await Promise.allSettled(inFlight);
    await server.shutdown();
    await device.close();
    log({ event: "stopped" });
  };
  return { url, shutdown: () => stopped ??= stop() };
}

function writeJsonLine(record: LogRecord): void {
  console.log(JSON.stringify({ time: new Date().toISOString(), ...record }));
}

function backendChoice(text: string): BackendChoice {
  const choice = BACKEND_CHOICES.find((known) => known === text);
  if (!choice) throw new RangeError(`PARE_BACKEND ${text}: must be one of ${BACKEND_CHOICES.join(", ")}`);
  return choice;
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) throw new RangeError(`PARE_PORT ${text}: must be from 0 to 65535`);
  return port;
}

if (import.meta.main) {
  const host = await serve({
    backend: backendChoice(Deno.env.get("PARE_BACKEND") ?? "auto"),
    hostname: Deno.env.get("PARE_HOST"),
    port: portNumber(Deno.env.get("PARE_PORT") ?? String(DEFAULT_PORT)),
    keys: parseKeys(Deno.env.get("PARE_KEYS") ?? ""),
    edge: parseEdgeOptions({
      secret: Deno.env.get("EDGE_HOST_SECRET"),
      blobOrigins: Deno.env.get("PARE_BLOB_ORIGINS"),
      edge: Deno.env.get("PARE_EDGE"),
      publicUrl: Deno.env.get("PARE_PUBLIC_URL"),
    }),
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void host.shutdown().then(() => Deno.exit(0)));
  }
}
