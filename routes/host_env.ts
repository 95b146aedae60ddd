/** What the host is made of, and what a request carries through it. Everything that touches the world is injected here. */

import type { Device } from "../src/host/device.ts";
import type { ProblemCode } from "../src/protocol/problem.ts";
import type { Key } from "../src/protocol/keys.ts";
import type { EdgeLink } from "../src/host/edge_link.ts";
import type { LogRecord } from "../src/host/log_record.ts";
import type { Metrics } from "../src/host/metrics.ts";

/** The parts of a host. */
export interface Services {
  readonly device: Device;
  readonly metrics: Metrics;
  /** Keys accepted; with none, every request is. */
  readonly keys: readonly Key[];
  /** One call a request, and one a change worth telling. */
  readonly log: (record: LogRecord) => void;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
  readonly limits: HostLimits;
  readonly version: string;
  /** The edge that may give this host tasks; without one there are none. */
  readonly edge?: EdgeLink;
}

/** What the host keeps within, for one request. */
export interface HostLimits {
  readonly maxBodyBytes: number;
  /** A body or an answer that stands still for this long is given up. */
  readonly idleMilliseconds: number;
  /** Largest tile edge of matrices on the device; the default of `TiledMatrix` unless given. Tests shrink it. */
  readonly tileEdge?: number;
}

/** Hono's types for this host. */
export interface HostEnv {
  Variables: {
    requestId: string;
    /** Code of the problem answered. */
    problem?: ProblemCode;
    /** The error behind an `internal` problem, for the log. */
    fault?: unknown;
    /** Body bytes taken so far. */
    bytesIn?: number;
  };
}
