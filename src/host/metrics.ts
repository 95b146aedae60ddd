/** The counters and gauges of a host, in the text format of Prometheus. */

import type { Report } from "../protocol/messages.ts";
import type { Device, DeviceSession } from "./device.ts";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export interface RequestFigures {
  /** The path pattern of the resource, or `none` if there is no such resource. */
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The bounds of the histogram of durations in seconds, from a small layer on a GPU to the largest layer on a CPU. */
const PHASE_BUCKETS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];

/** The gauges, each with the function that reads it from the open device. They are 0 while there is none. */
const GAUGES: Readonly<Record<string, readonly [help: string, value: (session: DeviceSession) => number]>> = {
  pare_queue_waiting: [
    "Requests waiting for a place on the device",
    ({ residentQueue: { waiting } }) => waiting,
  ],
  pare_layers_resident: ["Layers on the device", ({ residentQueue: { running } }) => running],
  pare_device_live_bytes: ["Device memory in use", ({ backend: { counters } }) => counters.bytesLive],
  pare_store_bytes: ["Device memory of stored statistics", ({ store: { byteLength } }) => byteLength],
  pare_device_usable: ["1 while the device can be used, else 0", () => 1],
};

export class HostMetrics {
  readonly #registry = new Registry();
  readonly #requests = new Counter({
    name: "pare_requests_total",
    help: "Requests answered",
    labelNames: ["route", "method", "status"],
    registers: [this.#registry],
  });
  readonly #bytes = new Counter({
    name: "pare_bytes_total",
    help: "Body bytes received and sent",
    labelNames: ["direction"],
    registers: [this.#registry],
  });
  readonly #phases = new Histogram({
    name: "pare_phase_seconds",
    help: "Duration of the phases of solved layers",
    labelNames: ["method", "phase"],
    buckets: PHASE_BUCKETS,
    registers: [this.#registry],
  });
  readonly #factors = new Counter({
    name: "pare_factors_total",
    help: "Layers with stored statistics, by whether a stored factor was used (hit or miss)",
    labelNames: ["outcome"],
    registers: [this.#registry],
  });

  /** @param device the device that the gauges read whenever the metrics are requested */
  constructor(device: Device) {
    for (const [name, [help, value]] of Object.entries(GAUGES)) {
      new Gauge({
        name,
        help,
        registers: [this.#registry],
        collect() {
          const session = device.current();
          this.set(session ? value(session) : 0);
        },
      });
    }
  }

  countRequest({ route, method, status, bytesIn, bytesOut }: RequestFigures): void {
    this.#requests.inc({ route, method, status });
    this.#bytes.inc({ direction: "in" }, bytesIn);
    this.#bytes.inc({ direction: "out" }, bytesOut);
  }

  /** Counts a solved layer. @param usesStoredStatistics whether the request named stored statistics */
  countLayer({ method, seconds, factor_reused }: Report, usesStoredStatistics: boolean): void {
    for (const [phase, duration] of Object.entries(seconds)) {
      this.#phases.observe({ method, phase }, duration);
    }
    if (usesStoredStatistics) this.#factors.inc({ outcome: factor_reused ? "hit" : "miss" });
  }

  async render(): Promise<{ text: string; contentType: string }> {
    return { text: await this.#registry.metrics(), contentType: this.#registry.contentType };
  }
}

/** The name of an event and its data. The host writes each entry as one line of JSON. */
export type LogEntry = Readonly<Record<string, string | number | undefined>> & { readonly event: string };
