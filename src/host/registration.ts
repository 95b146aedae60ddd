/**
 * Registers a host at an edge, the public server in front of GPU hosts, and keeps it registered by heartbeats. A
 * heartbeat carries the state of the host, by which the edge chooses a host for each layer. If the edge does not
 * answer, the failure is logged once, and the next heartbeat tries again. The host serves requests meanwhile.
 */

import { type Heartbeat, HEARTBEAT_MILLISECONDS, MAX_FACTORS } from "../protocol/resources/hosts.ts";
import { EDGE_AUDIENCE, ticketedRequest } from "../protocol/tickets.ts";
import { connectionReason } from "../base/errors.ts";
import { shortened } from "../base/texts.ts";
import type { Device } from "./device.ts";
import type { EdgeLink } from "./edge_options.ts";
import type { LogEntry } from "./metrics.ts";

export interface RegistrationOptions extends Pick<EdgeLink, "secret" | "hostId"> {
  readonly edge: string;
  readonly publicUrl: string;
  readonly device: Device;
  readonly log: (entry: LogEntry) => void;
  /** The time between two heartbeats. @default HEARTBEAT_MILLISECONDS */
  readonly heartbeatMilliseconds?: number;
  /** The time within which the edge must answer. @default heartbeatMilliseconds */
  readonly answerMilliseconds?: number;
}

export interface Registration {
  /** Stops the heartbeats and deregisters the host, if the edge can be reached. */
  stop(): Promise<void>;
}

/** Starts the heartbeats. The first one is sent at once. */
export function register(options: RegistrationOptions): Registration {
  const { edge, log, heartbeatMilliseconds = HEARTBEAT_MILLISECONDS } = options;
  const { answerMilliseconds = heartbeatMilliseconds } = options;
  const stopController = new AbortController();
  let isRegistered: boolean | undefined;
  const callEdge = async (method: "PUT" | "DELETE", heartbeat?: Heartbeat) => {
    const path = `/v1/hosts/${options.hostId}`;
    const call = { audience: EDGE_AUDIENCE, baseUrl: edge, method, path, json: heartbeat };
    const { url, init } = await ticketedRequest(options.secret, call, Date.now());
    const timeout = AbortSignal.timeout(answerMilliseconds);
    const response = await fetch(url, {
      ...init,
      // `stop` aborts a pending heartbeat, and then sends the request that deregisters the host.
      signal: heartbeat ? AbortSignal.any([timeout, stopController.signal]) : timeout,
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${shortened(text)}`);
  };
  const sendHeartbeat = async () => {
    const heartbeat = currentHeartbeat(options);
    // A host without a device sends no heartbeat, so the edge gives it no layers.
    if (!heartbeat) return;
    let fault: string | undefined;
    try {
      await callEdge("PUT", heartbeat);
    } catch (error) {
      if (stopController.signal.aborted) return;
      fault = connectionReason(error);
    }
    if (isRegistered !== (fault === undefined)) {
      log({ event: fault === undefined ? "registered" : "not registered", edge, fault });
    }
    isRegistered = fault === undefined;
  };
  let pendingHeartbeat = sendHeartbeat();
  const timer = setInterval(
    () => pendingHeartbeat = pendingHeartbeat.then(sendHeartbeat),
    heartbeatMilliseconds,
  );
  return {
    async stop() {
      clearInterval(timer);
      stopController.abort();
      await pendingHeartbeat;
      // If this fails, the edge removes the host after half a minute without a heartbeat.
      await callEdge("DELETE").catch(() => {});
    },
  };
}

function currentHeartbeat({ device, publicUrl }: RegistrationOptions): Heartbeat | undefined {
  const session = device.current();
  if (!session) return undefined;
  const { backend, residentQueue, store } = session;
  return {
    url: publicUrl,
    backend: backend.kind,
    adapter: backend.adapter.name.slice(0, 256),
    capacity: device.maxResidentLayers,
    queue: { waiting: residentQueue.waiting, resident: residentQueue.running },
    // The most recently used statistics are the most likely to be requested.
    factors: store.digests.slice(-MAX_FACTORS),
  };
}
