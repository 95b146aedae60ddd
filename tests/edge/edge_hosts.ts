/** Hosts in processes of their own that register at an edge, which is Pare's Cloudflare Worker in front of GPU hosts. */

import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { sleep } from "../../src/base/waiting.ts";

/** The secret that an edge and its hosts share. */
export const SECRET = "a secret of thirty-two bytes: 123";

/** The longest time to wait for a condition, in milliseconds. */
const WAIT_MILLISECONDS = 120_000;

/** Starts a host that registers at the edge with the URL `edge`. */
export function startEdgeHost(edge: string): Promise<ChildHost> {
  const env = { EDGE_HOST_SECRET: SECRET, PARE_BLOB_ORIGINS: edge };
  return startHost(["--backend", "cpu", "--edge", edge], env);
}

/** Waits until one of the hosts has a layer or block on its device, and returns this host. */
export function busyHost(hosts: readonly ChildHost[]): Promise<ChildHost> {
  return until("a host is busy", async () => {
    for (const host of hosts) {
      const { queue } = await (await fetch(`${host.url}/readyz`)).json();
      if (queue.resident > 0) return host;
    }
  });
}

/** Calls `ask` until it returns a value. @throws {Error} with the `condition` after `WAIT_MILLISECONDS` */
export async function until<T>(
  condition: string,
  ask: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  for (const end = Date.now() + WAIT_MILLISECONDS; Date.now() < end;) {
    const found = await ask();
    if (found !== undefined) return found;
    await sleep(2);
  }
  throw new Error(`after ${WAIT_MILLISECONDS / 1000} s this had not happened: ${condition}`);
}
