/**
 * What `pare prune --server` solves layers with: one host, several at once, or the jobs of an edge. A server is taken for an edge that
 * runs jobs when it lists hosts that are alive (`GET /v1/hosts`); a host knows no such path.
 */

import { listEdgeHosts } from "../../client/jobs/list_edge_hosts.ts";
import type { HostDescription } from "../../client/pare.ts";
import { PareHosts } from "../../client/pare_hosts.ts";
import { PareJobs } from "../../client/jobs/pare_jobs.ts";
import type { ModelPruner } from "../../client/model_pruner.ts";
import type { Output } from "../terminal/output.ts";
import { remoteTransport } from "../remote_client.ts";

/** Where layers are solved. */
export interface ServersOptions {
  /** Each `--server`. */
  readonly server: readonly string[];
  readonly apiKey?: string;
  /** `--jobs` or `--no-jobs`; as the server has it unless given. */
  readonly jobs?: boolean;
}

/** Where others take over what a host had, waiting long for it gains nothing: it is asked after again before each round. */
const RETRIES_AMONG_SEVERAL = 2;

/**
 * What solves, after a remark on where; undefined where no server is named. A server that cannot work is told of here, not after the
 * first calibration.
 * @throws {Error} hosts that would not give the same bytes; {PareError} {ConnectionError} a server that cannot work
 */
export async function remotePruner(
  { server: servers, apiKey, jobs }: ServersOptions,
  output: Output,
  signal: AbortSignal,
): Promise<ModelPruner | undefined> {
  if (servers.length === 0) return undefined;
  const transports = servers.map((url) => remoteTransport(url, apiKey, output));
  const [first] = transports;
  const registered = transports.length === 1 && jobs !== false
    ? await listEdgeHosts(first, { signal })
    : undefined;
  if (jobs || registered?.length) {
    if (registered) requireAlike(registered, registered.map(({ url }) => url));
    const hosts = registered?.length ? describe(registered) : "hosts that it knows";
    output.remark(`solving in jobs of ${first.baseUrl}, at ${hosts}`);
    return new PareJobs(first, {
      onLayerRetried: (name, attempts) => output.remark(`${name} took ${attempts} attempts`),
    });
  }
  const pruner = transports.length === 1
    ? new PareHosts(transports)
    : new PareHosts(transports.map((transport) => ({ ...transport, retries: RETRIES_AMONG_SEVERAL })), {
      onHostLost: (url, { message }) =>
        output.remark(`${url} is lost (${message}); its layers go to the others`),
    });
  const hosts = await pruner.describeHosts({ signal });
  requireAlike(hosts, servers);
  output.remark(`solving at ${describe(hosts)}`);
  return pruner;
}

/** Before any work: the run refuses the first layer of another adapter anyway. */
function requireAlike(hosts: readonly HostDescription[], urls: readonly string[]): void {
  const index = hosts.findIndex(({ backend, adapter }) =>
    backend !== hosts[0].backend || adapter !== hosts[0].adapter
  );
  if (index < 0) return;
  throw new Error(
    `${urls[0]} solves on ${kind(hosts[0])}, ${urls[index]} on ${kind(hosts[index])}: ` +
      "the layers of a run need one backend and adapter, as others round otherwise",
  );
}

function describe(hosts: readonly HostDescription[]): string {
  const count = hosts.length === 1 ? "1 host" : `${hosts.length} hosts`;
  return `${count}: ${kind(hosts[0])}`;
}

function kind({ backend, adapter }: HostDescription): string {
  return `${backend} (${adapter})`;
}
