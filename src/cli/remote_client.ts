/**
 * Creates the client of the host (the server that solves layers) that `--server` names.
 * `prune/remote_pruner.ts` creates the clients of several hosts.
 */

import { Pare } from "../client/pare.ts";
import type { TransportOptions } from "../client/transport.ts";
import { formatSeconds } from "../report/format.ts";
import { type ServerFlags, serverUrl } from "./options/server_options.ts";
import type { Output } from "./terminal/output.ts";

/** Returns a client of the server, or undefined if no server is given. The client reports its retries and jobs to `output`. */
export function remoteClient(flags: ServerFlags, output: Output): Pare | undefined {
  const url = serverUrl(flags);
  return url === undefined ? undefined : new Pare(remoteTransport(url, flags.apiKey, output));
}

/** Returns the transport options for a server. Retries and the ids of jobs are reported to `output`. */
export function remoteTransport(
  baseUrl: string,
  apiKey: string | undefined,
  output: Output,
): TransportOptions {
  const reportedJobs = new Set<string>();
  return {
    baseUrl,
    apiKey,
    onRetry: ({ message }, waitMs) => output.remark(retryLine(message, waitMs)),
    onJob: (id, layers) => {
      if (reportedJobs.has(id)) return; // the job was submitted again, because the edge may have lost it
      reportedJobs.add(id);
      output.remark(`job ${id}: ${layers === 1 ? "1 layer" : `${layers} layers`}`);
    },
  };
}

/** The line that announces another attempt after a transient failure. */
export function retryLine(message: string, waitMs: number): string {
  return `${message}; trying again in ${formatSeconds(waitMs / 1000)}`;
}
