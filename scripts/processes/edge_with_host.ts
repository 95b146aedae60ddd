/**
 * Starts an edge (Pare's Cloudflare Worker) and one GPU host on this machine and connects them as in a deployment. The edge
 * passes requests on to the host, and the host solves the layers of the edge's jobs. Both listen on the loopback interface only.
 * The host serves without API keys, and the edge too, unless `vars` has `PARE_KEYS`.
 */

import type { BackendChoice } from "../../src/host/backends.ts";
import { sleep } from "../../src/base/waiting.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { type ChildEdge, type ChildEdgeOptions, freePort, startEdge } from "./child_edge.ts";
import { type ChildHost, startHost } from "./child_host.ts";

/** A running edge and its host. Both run until the pair is disposed of. */
export interface EdgeWithHost extends AsyncDisposable {
  readonly edge: ChildEdge;
  readonly host: ChildHost;
}

/** Options of {@link startEdgeWithHost}. */
export interface EdgeWithHostOptions extends ChildEdgeOptions {
  readonly backend?: BackendChoice;
}

/** The longest time that a running host may take to register with the edge. */
const REGISTRATION_MILLISECONDS = 30_000;

/**
 * Starts both processes and waits until the host has registered with the edge. The two processes share a new random secret.
 * @throws {Error} if one of them does not start, or if the host does not register in time
 */
export async function startEdgeWithHost(
  { backend = "auto", ...options }: EdgeWithHostOptions,
): Promise<EdgeWithHost> {
  await using starting = new AsyncDisposableStack();
  const secret = crypto.getRandomValues(new Uint8Array(32)).toHex(), hostPort = freePort();
  const vars: Record<string, string> = {
    EDGE_HOST: `http://127.0.0.1:${hostPort}`,
    EDGE_HOST_SECRET: secret,
    ...options.vars,
  };
  // An edge with keys lists its hosts only for a key, so it accepts one more key, which may do nothing else.
  const key = vars.PARE_KEYS ? crypto.getRandomValues(new Uint8Array(32)).toHex() : undefined;
  if (key !== undefined) {
    vars.PARE_KEYS += `,${(await sha256(new TextEncoder().encode(key))).toHex()}:metrics`;
  }
  const edge = starting.use(await startEdge({ ...options, vars }));
  // The edge starts first, because a host that cannot reach its edge waits ten seconds before it registers again.
  const host = starting.use(
    await startHost(["--backend", backend, "--port", String(hostPort), "--edge", edge.url], {
      EDGE_HOST_SECRET: secret,
      PARE_BLOB_ORIGINS: edge.url,
      PARE_KEYS: "",
    }),
  );
  await waitForRegistration(edge, host, key);
  const running = starting.move();
  return { edge, host, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Waits until the registry lists the URL of this host. The registry may still list hosts of an earlier start. */
async function waitForRegistration(
  edge: ChildEdge,
  host: ChildHost,
  key: string | undefined,
): Promise<void> {
  const headers: Record<string, string> = key === undefined ? {} : { Authorization: `Bearer ${key}` };
  for (const end = Date.now() + REGISTRATION_MILLISECONDS; Date.now() < end; await sleep(50)) {
    const answer = await fetch(`${edge.url}/v1/hosts`, { headers });
    if (!answer.ok) {
      throw new Error(`edge ${edge.url}: GET /v1/hosts was answered with ${await answer.text()}`);
    }
    const { hosts } = await answer.json();
    if (hosts.some(({ url }: { url: string }) => url === host.url)) return;
  }
  const seconds = REGISTRATION_MILLISECONDS / 1000;
  throw new Error(`host ${host.url} has not registered with ${edge.url} within ${seconds} s`);
}
