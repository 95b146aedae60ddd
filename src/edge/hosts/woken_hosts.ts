/**
 * Hosts that are woken by a request. They belong to a platform that starts a host when a request arrives, and stops it
 * when there are none. Such a host sends no heartbeats while it sleeps, so the edge is told its id and its URL.
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

/**
 * Asks a host whether it has started. The first request makes the platform start the host.
 * @returns undefined if the host can be used, else the reason for the log
 */
export async function findSleepReason(
  { url }: WokenHost,
  fetch: (url: URL, init: RequestInit) => Promise<Response>,
): Promise<string | undefined> {
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
