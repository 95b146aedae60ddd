/** Creates the client for `--server`. `prune/remote_pruner.ts` handles several servers, and the jobs of an edge. */

import { Pare } from "../client/pare.ts";
import type { TransportOptions } from "../client/transport.ts";
import type { ConnectOptions } from "./options/common_options.ts";
import { formatSeconds } from "../report/format.ts";
import type { Output } from "./terminal/output.ts";

/** Returns a client of the server, which reports its retries, or undefined if no server is given. */
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
