/**
 * An edge on this machine with one GPU host behind it, as a deployment has them: the edge passes requests on to the host, and the
 * host takes tasks of the edge's jobs. Both serve without keys, on loopback alone.
 */

import type { BackendChoice } from "../src/host/backends.ts";
import { sleep } from "../src/async/abort.ts";
import { type ChildEdge, type EdgeOptions, freePort, startEdge } from "./child_edge.ts";
import { type ChildHost, startHost } from "./child_host.ts";

/** Both. Dispose of it: they stop only when told. */
export interface EdgeWithHost extends AsyncDisposable {
  readonly edge: ChildEdge;
  readonly host: ChildHost;
}

/** How to start them. */
export interface PairOptions extends EdgeOptions {
  readonly backend?: BackendChoice;
}

/** Longest that a host which listens may take to be in the edge's registry, in milliseconds. */
const REGISTRATION_MILLISECONDS = 30_000;

/**
 * Starts both, and waits until the host is registered. They share a secret that is new each time.
 * @throws {Error} as `startEdge` and `startHost`; or the host does not register
 */
export async function startEdgeWithHost(
  { backend = "auto", ...options }: PairOptions,
): Promise<EdgeWithHost> {
  await using starting = new AsyncDisposableStack();
  const secret = crypto.getRandomValues(new Uint8Array(32)).toHex(), hostPort = freePort();
  const vars = { PARE_HOST: `http://127.0.0.1:${hostPort}`, EDGE_HOST_SECRET: secret, ...options.vars };
  const edge = starting.use(await startEdge({ ...options, vars }));
  // After the edge: a host that finds none waits for ten seconds before it tells of itself again.
  const host = starting.use(
    await startHost(["--backend", backend, "--port", String(hostPort), "--edge", edge.url], {
      EDGE_HOST_SECRET: secret,
      PARE_BLOB_ORIGINS: edge.url,
      PARE_KEYS: "",
    }),
  );
  await registered(edge, host);
  const running = starting.move();
  return { edge, host, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** By its address: the registry may remember a host of an earlier start. */
async function registered(edge: ChildEdge, host: ChildHost): Promise<void> {
  for (const end = Date.now() + REGISTRATION_MILLISECONDS; Date.now() < end; await sleep(50)) {
    const { hosts } = await (await fetch(`${edge.url}/v1/hosts`)).json();
    if (hosts.some(({ url }: { url: string }) => url === host.url)) return;
  }
  const seconds = REGISTRATION_MILLISECONDS / 1000;
  throw new Error(`host ${host.url} has not registered with ${edge.url} in ${seconds} s`);
}
