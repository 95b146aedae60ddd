/**
 * The host's entry: opens a backend, listens, and stops in order. In process it is `serve(options)`; as a program it reads its
 * options from the environment.
 *
 *     PARE_BACKEND  auto | webgpu | cpu     PARE_HOST, PARE_PORT (0: any free one)
 *     PARE_KEYS     HEX[:SCOPE+SCOPE],…     with none, it listens on loopback alone
 *     PARE_EDGE, PARE_PUBLIC_URL, EDGE_HOST_SECRET, PARE_BLOB_ORIGINS    take tasks of an edge (`edge_options.ts`)
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
import { Metrics } from "../src/host/metrics.ts";
import { register } from "../src/host/registration.ts";
import { TaskBook } from "../src/host/tasks/task_book.ts";

/** How to serve. Everything has a default. */
export interface ServeOptions {
  readonly backend?: BackendChoice;
  /** Opens the backend, in place of `backend`. */
  readonly open?: () => Promise<Backend>;
  /** Where to listen; loopback whatever is given, while there are no keys. */
  readonly hostname?: string;
  /** 0: any free port. */
  readonly port?: number;
  readonly keys?: readonly Key[];
  readonly log?: (record: LogRecord) => void;
  readonly limits?: Partial<HostLimits>;
  readonly device?: Partial<Omit<DeviceOptions, "clock">>;
  /** The edge to take tasks of, and to register with. */
  readonly edge?: EdgeOptions;
}

/** A host that listens. */
export interface Host {
  /** `http://HOST:PORT`, no slash at the end. */
  readonly url: string;
  /** Refuses new layers, finishes those in flight, stops listening, frees the device. Calling it twice is harmless. */
  shutdown(): Promise<void>;
}

const LOOPBACK = "127.0.0.1";
const DEFAULT_PORT = 8000;
/** One layer is solved while one streams in and one streams out. */
const DEFAULT_RESIDENTS = 3;
const DEFAULT_QUEUE_DEPTH = 16;
/** A client silent for a minute has most likely gone, and holds device memory. */
const DEFAULT_IDLE_MILLISECONDS = 60_000;

/** Starts a host. @throws the system's error where the port cannot be had, or the backend's own */
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
    metrics: new Metrics(device),
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
    // Deno's shutdown lets answers go out but breaks off bodies that are still coming in: those come first.
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
