/** The client of the host that `--server` names. Several, and an edge's jobs, are `remote_pruner.ts`'s. */

import { Pare } from "../client/pare.ts";
import type { TransportOptions } from "../client/transport.ts";
import type { ConnectOptions } from "./options/common_options.ts";
import { formatSeconds } from "../report/format.ts";
import type { Output } from "./terminal/output.ts";

/** A client of the host named, which remarks on what it tries again; undefined where none is named. */
export function remoteClient({ server, apiKey }: ConnectOptions, output: Output): Pare | undefined {
  return server === undefined ? undefined : new Pare(remoteTransport(server, apiKey, output));
}

/** How a host is reached. What is tried again is remarked on. */
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
