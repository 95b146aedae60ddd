/** The stages of one request, as host and client record them. Both run on the same machine and use the same clock. */

/** Returns the milliseconds since 1970, in fractions of a microsecond. All processes of a machine share this clock. */
export function now(): number {
  return Number(Temporal.Now.instant().epochNanoseconds / 100n) / 1e4;
}

/** Sums of durations at the host, in milliseconds. */
export interface Durations {
  /** The copies of the body's tensors into the memory of the device, and the queueing of their conversion. */
  readonly uploading: number;
  /** The waits for the device before the solve, in which the device converts the tensors and checks their values. */
  readonly checking: number;
  /** The waits for the device after the solve, in which the device converts the weights and the backend copies them. */
  readonly reading: number;
}

/** The times at which the host reached a stage. */
export interface HostStages extends Durations {
  /** The headers of the request had arrived, and the handler was called. */
  readonly request: number;
  /** The request had a place on the device. Before this, its headers, its query and its key were checked. */
  readonly place: number;
  /** The body was on the device and checked, and the request had its turn to solve. */
  readonly solveStart: number;
  readonly solveEnd: number;
  /** The headers of the answer were complete. */
  readonly response: number;
}

/** The times at which the client reached a stage. */
export interface ClientStages {
  readonly start: number;
  /** The body was encoded, and `fetch` was called. */
  readonly fetch: number;
  /** The headers of the answer had arrived. */
  readonly headers: number;
  /** The body of the answer had arrived. */
  readonly body: number;
  /** The answer was decoded, and its report was checked. */
  readonly end: number;
}

/** Returns the milliseconds of each stage of one request, in the order of the stages. Their sum is the time of the request. */
export function stageDurations(client: ClientStages, host: HostStages): Record<string, number> {
  return {
    "client: encode": client.fetch - client.start,
    "to the host: headers": host.request - client.fetch,
    "host: checks and queue": host.place - host.request,
    "host: receive the body": host.solveStart - host.place - host.uploading - host.checking,
    "host: upload": host.uploading,
    "host: check values": host.checking,
    "host: solve": host.solveEnd - host.solveStart,
    "host: report": host.response - host.solveEnd,
    "host: read back": host.reading,
    "answer to the client": client.body - host.response - host.reading,
    "client: decode": client.end - client.body,
  };
}

/** The name of the stage that is not overhead. */
export const SOLVE_STAGE = "host: solve";
