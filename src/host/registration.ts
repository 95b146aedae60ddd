/**
 * Tells an edge that this host is there, every ten seconds, until it is stopped: what the edge needs to choose a host for a
 * layer. An edge that does not answer is told of in the log once, and tried again; the host serves all the same.
 */

import { HEARTBEAT_MILLISECONDS, type HostState, MAX_FACTORS } from "../protocol/jobs.ts";
import type { Device } from "./device.ts";
import { EDGE_AUDIENCE, signTicket } from "../protocol/tickets.ts";
import type { EdgeLink } from "./edge_link.ts";
import type { LogRecord } from "./log_record.ts";
import { messageOf } from "../text/message_of.ts";

/** Whom to tell, and what. */
export interface RegistrationOptions extends Pick<EdgeLink, "secret" | "hostId"> {
  /** The edge's base URL. */
  readonly edge: string;
  /** Where the edge reaches this host. */
  readonly publicUrl: string;
  readonly device: Device;
  /** Layers the device holds at once. */
  readonly capacity: number;
  readonly log: (record: LogRecord) => void;
  readonly heartbeatMilliseconds?: number;
}

/** A registration that goes on. */
export interface Registration {
  /** Leaves the edge's registry, as far as it can be reached. */
  stop(): Promise<void>;
}

/** Starts telling, at once for the first time. */
export function register(options: RegistrationOptions): Registration {
  const { edge, hostId, log, heartbeatMilliseconds = HEARTBEAT_MILLISECONDS } = options;
  const leaving = new AbortController();
  let known: boolean | undefined;
  const tell = async (method: "PUT" | "DELETE", state?: HostState) => {
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
      signal: AbortSignal.any([AbortSignal.timeout(heartbeatMilliseconds), ...state ? [leaving.signal] : []]),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 300)}`);
  };
  const beat = async () => {
    const state = stateOf(options);
    // A host without a device takes no layers: its silence says so.
    if (!state) return;
    let fault: string | undefined;
    try {
      await tell("PUT", state);
    } catch (error) {
      if (leaving.signal.aborted) return;
      fault = messageOf(error);
    }
    if (known !== (fault === undefined)) {
      log({ event: fault === undefined ? "registered" : "not registered", edge, fault });
    }
    known = fault === undefined;
  };
  let beating = beat();
  const timer = setInterval(() => beating = beating.then(beat), heartbeatMilliseconds);
  return {
    async stop() {
      clearInterval(timer);
      leaving.abort();
      await beating;
      // The edge forgets in half a minute who does not say goodbye.
      await tell("DELETE").catch(() => {});
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
    // The latest used are the likeliest to be asked for.
    factors: store.digests.slice(-MAX_FACTORS),
  };
}
