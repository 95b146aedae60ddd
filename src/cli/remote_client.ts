/** The client of the host that `--server` names. */

import { Pare } from "../client/pare.ts";
import type { ConnectOptions } from "./common_options.ts";
import { formatSeconds } from "./format.ts";
import type { Output } from "./output.ts";

/** A client of the host named, which remarks on what it tries again; undefined where none is named. */
export function remoteClient({ server, apiKey }: ConnectOptions, output: Output): Pare | undefined {
  if (server === undefined) return undefined;
  return new Pare({
    baseUrl: server,
    apiKey,
    onRetry: ({ message }, waitMs) =>
      output.remark(`${message}; trying again in ${formatSeconds(waitMs / 1000)}`),
  });
}
