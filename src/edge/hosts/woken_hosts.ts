/**
 * Hosts that are woken by a request. Their platform starts a host when a request arrives, and stops the host when no
 * requests come. A host that is stopped sends no heartbeats, so the settings of the edge name its id and its URL.
 */

import { messageOf } from "../../base/errors.ts";
import { shortened } from "../../base/texts.ts";
import { idSchema } from "../../protocol/resources/fields.ts";
import { hostUrlSchema } from "../../protocol/resources/hosts.ts";

export interface WokenHost {
  /** The id of the host, which its variable `PARE_HOST_ID` sets. */
  readonly id: string;
  readonly url: string;
}

/** The longest time for one answer. Some platforms hold the first request back until the host has started. */
const ANSWER_MILLISECONDS = 30_000;

/**
 * Parses `EDGE_WOKEN_HOSTS`, such as `cloud-run=https://a.example,modal=https://b.example`.
 * @throws {RangeError} with the entry that is malformed
 */
export function parseWokenHosts(text: string): WokenHost[] {
  return text.split(",").map((entry) => entry.trim()).filter(Boolean).map((entry) => {
    const [, id = "", url] = /^(.*?)=(.*)$/.exec(entry) ?? [];
    if (idSchema.safeParse(id).success && hostUrlSchema.safeParse(url).success) return { id, url };
    throw new RangeError(`EDGE_WOKEN_HOSTS entry ${shortened(entry)}: must be ID=URL with the URL of a host`);
  });
}

type Fetch = (url: URL, init: RequestInit) => Promise<Response>;

/**
 * Asks a host whether it has started. The first request makes the platform start the host. Resolves to undefined if the
 * host can be used, else to the reason for the log.
 */
export type FindSleepReason = (host: WokenHost) => Promise<string | undefined>;

/**
 * Returns the function that asks the hosts of a job. Layers that wait for the same host share one request, because a
 * Worker waits for at most six answers at once, and needs them for the hosts that are awake.
 */
export function createFindSleepReason(fetch: Fetch): FindSleepReason {
  const pending = new Map<string, Promise<string | undefined>>();
  return ({ url }) => {
    const answer = pending.get(url) ?? ping(url, fetch).finally(() => pending.delete(url));
    pending.set(url, answer);
    return answer;
  };
}

async function ping(url: string, fetch: Fetch): Promise<string | undefined> {
  try {
    const response = await fetch(new URL("./ping", url.endsWith("/") ? url : `${url}/`), {
      method: "GET",
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MILLISECONDS),
    });
    await response.body?.cancel();
    return response.status === 200 ? undefined : `GET /ping was answered with status ${response.status}`;
  } catch (error) {
    return messageOf(error);
  }
}
