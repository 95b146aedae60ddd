/**
 * Chooses how `pare prune --server` solves layers: on one host, on several hosts at once, or in jobs of an
 * edge. An edge is a server that passes layers on to hosts. A job is a list of layers that the edge solves
 * even if the client is stopped. An edge is recognized by `GET /v1/hosts`, the list of its registered hosts.
 * A host has no such route.
 */

import { listEdgeHosts } from "../../client/jobs/list_edge_hosts.ts";
import { Jobs } from "../../client/jobs/jobs.ts";
import { type HostDescription, Pare } from "../../client/pare.ts";
import { PareHosts } from "../../client/pare_hosts.ts";
import { PareJobs } from "../../client/jobs/pare_jobs.ts";
import type { ModelPruner } from "../../client/model_pruner.ts";
import { describeRounding } from "../../backend/adapter_rounding.ts";
import { shortened } from "../../text/quotes.ts";
import { UsageError } from "../errors.ts";
import type { HostPoolFlags } from "../options/server_options.ts";
import type { Output } from "../terminal/output.ts";
import { remoteTransport } from "../remote_client.ts";

/**
 * The number of retries per host if there are several hosts. More retries would gain nothing, because the
 * other hosts take over the layers of a lost host. The lost host is tried again before each calibration
 * round, which is a set of layers that are calibrated together.
 */
const RETRIES_AMONG_SEVERAL = 2;

/**
 * Returns the client that prunes on the servers, or undefined if no server is given. Prints where the layers
 * are solved. The servers and the key are checked here, before the first calibration.
 * @param name the name of the model, which the jobs get
 * @throws {UsageError} if the hosts have different adapters (GPUs or CPU engines), because their results would
 * differ in the last bits
 * @throws {PareError} if a server refuses the request
 * @throws {ConnectionError} if a server cannot be reached
 */
export async function remotePruner(
  { server: servers, apiKey, jobs }: HostPoolFlags,
  name: string,
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
    await new Jobs(first).list({ limit: 1, signal }); // throws if the key may not have jobs
    if (registered) requireSameAdapter(registered, registered.map(({ url }) => url));
    const hosts = registered?.length ? describeHosts(registered) : "its registered hosts";
    output.remark(`solving in jobs of ${first.baseUrl}, at ${hosts}`);
    return new PareJobs(first, {
      name,
      onLayerRetried: (name, attempts) => output.remark(`${name} took ${attempts} attempts`),
    });
  }
  const pruner = transports.length === 1
    ? new PareHosts(transports)
    : new PareHosts(transports.map((transport) => ({ ...transport, retries: RETRIES_AMONG_SEVERAL })), {
      onHostLost: (url, { message }) =>
        output.remark(`${url} is lost (${message}); its layers are sent to the other hosts`),
    });
  const hosts = await pruner.describeHosts({ signal });
  await Promise.all(transports.map((transport) => new Pare(transport).checkKey({ signal })));
  requireSameAdapter(hosts, servers);
  output.remark(`solving at ${describeHosts(hosts)}`);
  return pruner;
}

/** Checks before any work that all hosts have the same adapter. */
function requireSameAdapter(hosts: readonly HostDescription[], urls: readonly string[]): void {
  const index = hosts.findIndex((host) => describeRounding(host) !== describeRounding(hosts[0]));
  if (index < 0) return;
  throw new UsageError(
    `${urls[0]} solves on ${adapterText(hosts[0])}, ${urls[index]} on ${adapterText(hosts[index])}: ` +
      "all layers of a run need the same backend and adapter, because different adapters round differently",
  );
}

function describeHosts(hosts: readonly HostDescription[]): string {
  const count = hosts.length === 1 ? "1 host" : `${hosts.length} hosts`;
  return `${count}: ${adapterText(hosts[0])}`;
}

function adapterText({ backend, adapter }: HostDescription): string {
  return shortened(`${backend} (${adapter})`);
}
