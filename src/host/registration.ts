/**
 * Registers this host at an edge by sending its state every ten seconds. The edge uses the state to choose a host for each layer. If the
 * edge does not answer, this is logged once, and the next heartbeat tries again. The host serves requests meanwhile.
 */

import { HEARTBEAT_MILLISECONDS, type HostState, MAX_FACTORS } from "../protocol/jobs.ts";
import type { Device } from "./device.ts";
import { EDGE_AUDIENCE, signTicket } from "../protocol/tickets.ts";
import type { EdgeLink } from "./edge_link.ts";
import type { LogRecord } from "./log_record.ts";
import { messageOf } from "../text/message_of.ts";

/** Options of a registration. */
export interface RegistrationOptions extends Pick<EdgeLink, "secret" | "hostId"> {
  /** The edge's base URL. */
  readonly edge: string;
  /** The URL at which the edge reaches this host. */
  readonly publicUrl: string;
  readonly device: Device;
  /** The number of layers that the device holds at once. */
  readonly capacity: number;
  readonly log: (record: LogRecord) => void;
  readonly heartbeatMilliseconds?: number;
}

/** An active registration. */
export interface Registration {
  /** Stops the heartbeats and deregisters the host, if the edge can be reached. */
  stop(): Promise<void>;
}

/** Starts the heartbeats. The first one is sent at once. */
export function register(options: RegistrationOptions): Registration {
  const { edge, hostId, log, heartbeatMilliseconds = HEARTBEAT_MILLISECONDS } = options;
  const stopping = new AbortController();
  let isRegistered: boolean | undefined;
  const send = async (method: "PUT" | "DELETE", state?: HostState) => {
    const path = `/v1/hosts/${hostId}`;
    const body = new TextEncoder().encode(state ? JSON.stringify(state) : "");
    const subject = { audience: EDGE_AUDIENCE, method, path, body };
    const response = await fetch(new URL(`.${path}`, edge.endsWith("/") ? edge : `${edge}/`), {
      method,
      headers: {
        Authorization: await signTicket(options.secret, subject, Date.now()),
        "Content-Type": "application/json",
      },
      body: state && body,
      signal: AbortSignal.any([
        AbortSignal.timeout(heartbeatMilliseconds),
        ...state ? [stopping.signal] : [],
      ]),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 300)}`);
  };
  const sendHeartbeat = async () => {
    const state = stateOf(options);
    // A host without a device sends no heartbeat, so the edge gives it no layers.
    if (!state) return;
    let fault: string | undefined;
    try {
      await send("PUT", state);
    } catch (error) {
      if (stopping.signal.aborted) return;
      fault = messageOf(error);
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
      stopping.abort();
      await pendingHeartbeat;
      // If this fails, the edge removes the host after half a minute without a heartbeat.
      await send("DELETE").catch(() => {});
    },
  };
}

function stateOf({ device, publicUrl, capacity }: RegistrationOptions): HostState | undefined {
  const session = device.current();
  if (!session) return undefined;
  const { backend, residence, store } = session;
  return {
    url: publicUrl,
    backend: backend.kind,
    adapter: backend.adapter.name.slice(0, 256),
    capacity,
    queue: { waiting: residence.waiting, resident: residence.running },
    // The most recently used statistics are the most likely to be requested.
    factors: store.digests.slice(-MAX_FACTORS),
  };
}
