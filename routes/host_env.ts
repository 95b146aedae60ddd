/** The services that a host is built from, and the variables of a request. Clock, log and device are injected here. */

import type { Device } from "../src/host/device.ts";
import type { ProblemCode } from "../src/protocol/problem.ts";
import type { Key } from "../src/protocol/keys.ts";
import type { EdgeLink } from "../src/host/edge_link.ts";
import type { LogRecord } from "../src/host/log_record.ts";
import type { HostMetrics } from "../src/host/metrics.ts";

/** The services of a host. */
export interface Services {
  readonly device: Device;
  readonly metrics: HostMetrics;
  /** The accepted keys. If there are none, every request is accepted. */
  readonly keys: readonly Key[];
  /** Called once per request, and for events such as a registration. */
  readonly log: (record: LogRecord) => void;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
  readonly limits: HostLimits;
  readonly version: string;
  /** The edge that may give tasks to this host. Without it the host has no task resource. */
  readonly edge?: EdgeLink;
}

/** The limits of one request. */
export interface HostLimits {
  readonly maxBodyBytes: number;
  /** A request body or an answer is aborted if no bytes were transferred for this long. */
  readonly idleMilliseconds: number;
  /** The largest tile edge of matrices on the device. Defaults to that of `TiledMatrix`. Tests use small ones. */
  readonly tileEdge?: number;
}

/** Hono's environment type of a host. */
export interface HostEnv {
  Variables: {
    requestId: string;
    /** The code of the problem that was sent as the answer, if any. */
    problem?: ProblemCode;
    /** The error of an `internal` problem, for the log. */
    fault?: unknown;
    /** The number of body bytes that were read. */
    bytesIn?: number;
  };
}
