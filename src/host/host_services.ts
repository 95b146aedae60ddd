/**
 * The services that the HTTP resources of a host use, such as the device and the log. `routes/serve.ts` builds them
 * with `createHostServices`, listens on a port, and then opens the device.
 */

import type { Backend } from "../device/backend.ts";
import type { Key, KeySource } from "../protocol/keys.ts";
import {
  ANSWER_PATIENCE_SECONDS,
  ANSWER_WINDOW_SECONDS,
  BODY_WINDOW_SECONDS,
  LEAST_BYTES_PER_SECOND,
  MAX_BODY_BYTES,
  QUEUE_SECONDS,
} from "../protocol/limits.ts";
import { VERSION } from "../protocol/version.ts";
import { Device, type DeviceOptions } from "./device.ts";
import type { EdgeLink } from "./edge_options.ts";
import { HostMetrics, type LogEntry } from "./metrics.ts";
import type { Runs } from "./runs/runs.ts";

export interface HostLimits {
  readonly maxBodyBytes: number;
  readonly leastBytesPerSecond: number;
  readonly bodyWindowMilliseconds: number;
  /** The time over which the rate of an answer is measured while another request waits for its place. */
  readonly answerWindowMilliseconds: number;
  /** The time over which the rate of an answer is measured while no other request waits. */
  readonly answerPatienceMilliseconds: number;
  /**
   * The largest tile edge, in elements. Matrices on the device are stored in square tiles. Tests use small tiles.
   * @default the edge for the backend (`tileEdgeOn`)
   */
  readonly tileEdge?: number;
}

export interface HostServices {
  readonly device: Device;
  readonly metrics: HostMetrics;
  /** The accepted API keys. If there are none, every request is accepted. */
  readonly keys: KeySource;
  /** The accepted names in the header `Host`, besides the names of loopback. If it is undefined, every name is accepted. */
  readonly hostNames?: readonly string[];
  /** The origins of the pages that may use the API from a browser. */
  readonly corsOrigins: string[];
  /** Called once per request, and for events such as a registration. */
  readonly log: (entry: LogEntry) => void;
  readonly clock: () => number;
  readonly limits: HostLimits;
  readonly version: string;
  /**
   * Returns the script of the pages at `/docs`, compressed by gzip, or undefined if it was not built. Without this
   * function there are no pages.
   */
  readonly docsScript?: () => Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** The runs of whole models. Without it every request for a run is answered 404. */
  readonly runs?: Runs;
  /** The connection to the edge that may give tasks to this host. Without it the host has no resource for tasks. */
  readonly edge?: EdgeLink;
}

/** The services that can be chosen. By default there are no origins of other pages and no log. */
export interface HostSettings
  extends Partial<Pick<HostServices, "hostNames" | "corsOrigins" | "log" | "docsScript" | "edge" | "runs">> {
  /** @default none, so that every request is accepted */
  readonly keys?: readonly Key[];
  /** A file of keys, which is read again while the host runs. Takes the place of `keys`. */
  readonly keyFile?: KeySource;
  readonly limits?: Partial<HostLimits>;
  readonly device?: Partial<Omit<DeviceOptions, "clock">>;
}

/** One layer is solved while a second is read and a third is answered. */
const DEFAULT_MAX_RESIDENT_LAYERS = 3;

const DEFAULT_QUEUE_DEPTH = 16;

const DEFAULT_LIMITS: HostLimits = {
  maxBodyBytes: MAX_BODY_BYTES,
  leastBytesPerSecond: LEAST_BYTES_PER_SECOND,
  bodyWindowMilliseconds: BODY_WINDOW_SECONDS * 1000,
  answerWindowMilliseconds: ANSWER_WINDOW_SECONDS * 1000,
  answerPatienceMilliseconds: ANSWER_PATIENCE_SECONDS * 1000,
};

/** Builds the services of a host. The caller starts the device, and closes it. */
export function createHostServices(
  open: () => Promise<Backend>,
  { keys = [], keyFile, hostNames, corsOrigins, log, limits, device: options, docsScript, edge, runs }:
    HostSettings = {},
): HostServices {
  const clock = performance.now.bind(performance);
  const device = new Device(open, {
    maxResidentLayers: DEFAULT_MAX_RESIDENT_LAYERS,
    queueDepth: DEFAULT_QUEUE_DEPTH,
    queueMilliseconds: QUEUE_SECONDS * 1000,
    ...options,
    clock,
  });
  return {
    device,
    metrics: new HostMetrics(device),
    keys: keyFile ?? { current: keys },
    hostNames,
    corsOrigins: corsOrigins ?? [],
    log: log ?? (() => {}),
    clock,
    limits: { ...DEFAULT_LIMITS, ...limits },
    version: VERSION,
    docsScript,
    edge,
    runs,
  };
}

/**
 * Builds the services and opens the device. If the device cannot be opened, the host starts anyway, and
 * `device.session()` throws the reason.
 */
export async function startHostServices(
  open: () => Promise<Backend>,
  settings?: HostSettings,
): Promise<HostServices> {
  const services = createHostServices(open, settings);
  await services.device.start();
  return services;
}
