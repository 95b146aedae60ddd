/**
 * Creates the client of the host (the server that solves layers) that `--server` names.
 * `prune/remote_pruner.ts` creates the clients of several hosts.
 */

import { Pare } from "../client/pare.ts";
import type { TransportOptions } from "../client/transport.ts";
import type { ConnectOptions } from "./options/common_options.ts";
import { formatSeconds } from "../report/format.ts";
import type { Output } from "./terminal/output.ts";

/** Returns a client of the server, or undefined if no server is given. The client reports its retries to `output`. */
export function remoteClient({ server, apiKey }: ConnectOptions, output: Output): Pare | undefined {
  return server === undefined ? undefined : new Pare(remoteTransport(server, apiKey, output));
}

/** Returns the transport options for a server. Retries are reported to `output`. */
export function remoteTransport(
  baseUrl: string,
  apiKey: string | undefined,
  output: Output,
): TransportOptions {
  return {
    baseUrl,
    apiKey,
    onRetry: ({ message }, waitMs) =>
      output.remark(`${message}; trying again in ${formatSeconds(waitMs / 1000)}`),
  };
}
