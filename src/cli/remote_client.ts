/** Creates the clients of the servers that `--server` names: of one host, of several hosts, or of an edge. */

import { PareError } from "../client/errors.ts";
import { type HostDescription, Pare } from "../client/pare.ts";
import type { TransportOptions } from "../client/transport.ts";
import { secondsText } from "../prune/report/format.ts";
import { type HostPoolFlags, type ServerFlags, serverUrl } from "./options/server_options.ts";
import type { Output } from "./terminal/output.ts";
import { Jobs, listEdgeHosts } from "../client/jobs/jobs.ts";
import { PareHosts } from "../client/pare_hosts.ts";
import { PareJobs } from "../client/jobs/pare_jobs.ts";
import type { ModelPruner } from "../client/model_pruner.ts";
import { describeRounding } from "../device/backend.ts";
import type { Checkpoint } from "../model/checkpoint/checkpoint.ts";
import { sha256 } from "../protocol/digest.ts";
import type { RunOptions } from "../protocol/run/options.ts";
import type { EdgeHost } from "../protocol/messages.ts";
import { BlockHost } from "../client/blocks/block_host.ts";
import { BlockJobs } from "../prune/blocks/block_jobs.ts";
import { DividedBlocks } from "../prune/blocks/divided_blocks.ts";
import { RemoteBlocks } from "../prune/blocks/remote_blocks.ts";
import type { RunFingerprint } from "../prune/run/fingerprint.ts";
import { resolve } from "node:path";
import { shortened } from "../base/texts.ts";
import { UsageError } from "./errors.ts";

/** Returns a client of the server, or undefined if no server is given. The client reports its retries and jobs to `output`. */
export function remoteClient(flags: ServerFlags, output: Output): Pare | undefined {
  const url = serverUrl(flags);
  return url === undefined ? undefined : new Pare(remoteTransport(url, flags.apiKey, output));
}

/** Returns the transport options for a server. Retries and the ids of jobs, of layers or blocks, are reported to `output`. */
export function remoteTransport(
  baseUrl: string,
  apiKey: string | undefined,
  output: Output,
  item: "layer" | "block" = "layer",
): TransportOptions {
  const reportedJobs = new Set<string>();
  return {
    baseUrl,
    apiKey,
    onRetry: ({ message }, waitMs) => output.remark(retryLine(message, waitMs)),
    onJob: (id, count) => {
      if (reportedJobs.has(id)) return; // the job was submitted again, because the edge may have lost it
      reportedJobs.add(id);
      output.remark(`job ${id}: ${count === 1 ? `1 ${item}` : `${count} ${item}s`}`);
    },
  };
}

/**
 * Returns the options for the first request to a server. It has few retries, so that a server that is down is reported after two seconds.
 * Later requests wait longer for a server that restarts.
 */
export function firstContact(transport: TransportOptions): TransportOptions {
  return { ...transport, retries: 2 };
}

/** The line that announces another attempt after a transient failure. */
export function retryLine(message: string, waitMs: number): string {
  return `${message}; trying again in ${secondsText(waitMs / 1000)}`;
}

/**
 * The number of retries per host if there are several hosts. More retries would gain nothing, because the other hosts take over the layers
 * of a lost host. The lost host is tried again before each calibration round, which is a set of layers that are calibrated together.
 */
const RETRIES_AMONG_SEVERAL = 2;

/**
 * Returns the client that prunes on the servers, or undefined if no server is given. Prints where the layers are solved. The servers and
 * the key are checked here, before the first calibration.
 * @param name the name of the model, which the jobs get
 * @throws {UsageError} if the hosts have different adapters (GPUs or CPU engines), because their results would differ in the last bits
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
  const registered = transports.length === 1 ? await hostsForJobs(first, jobs, signal) : undefined;
  const hosts = registered ?? await describeServers(transports, signal);
  if (registered) {
    const described = hosts.length > 0 ? describeHosts(hosts) : "its registered hosts";
    output.remark(`solving in jobs of ${first.baseUrl}, at ${described}`);
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
  await Promise.all(transports.map((transport) => new Pare(transport).checkKey({ signal })));
  requireSameAdapter(hosts, servers);
  output.remark(`solving at ${describeHosts(hosts)}`);
  return pruner;
}

/**
 * Returns the known hosts of an edge that prunes in jobs. Returns undefined if the server is to be used without jobs.
 * @param jobs the option `--jobs`
 * @throws {PareError} if the key may not have jobs
 */
async function hostsForJobs(
  edge: TransportOptions,
  jobs: boolean | undefined,
  signal: AbortSignal,
): Promise<readonly EdgeHost[] | undefined> {
  if (jobs === false) return undefined;
  const registered = await listEdgeHosts(firstContact(edge), { signal }) ?? [];
  if (!jobs && registered.length === 0) return undefined;
  await new Jobs(edge).list({ limit: 1, signal }).catch(explainNoEdge("--jobs", edge.baseUrl));
  requireSameAdapter(registered, registered.map(({ url }) => url));
  return registered;
}

/** Returns a function that throws an error again. @throws {UsageError} naming the option, in place of the 404 of a server without jobs */
export function explainNoEdge(option: string, url: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof PareError && error.status === 404)) throw error;
    throw new UsageError(`option ${option}: ${url} has no jobs, because it is a host, not an edge`, {
      cause: error,
    });
  };
}

/** A run whose blocks are pruned at hosts, or in a job of an edge. */
interface RemoteBlocksFlags extends HostPoolFlags {
  /** The name of the model, which the job gets. */
  readonly name: string;
  readonly fingerprint: RunFingerprint;
  /** The output folder. */
  readonly out: string;
  readonly config: Checkpoint["config"];
  readonly format: RunOptions["format"];
}

/**
 * Returns a pruner that has whole blocks pruned at the servers, and the device of the servers. Prints where the blocks are
 * pruned.
 * @throws {UsageError} if an edge has no hosts
 * @throws {UsageError} {PareError} {ConnectionError} as `remotePruner`
 */
export async function remoteBlocks(
  { name, fingerprint, out, config, format, ...flags }: RemoteBlocksFlags,
  output: Output,
  signal: AbortSignal,
) {
  const { server: servers, apiKey, jobs } = flags;
  const transports = servers.map((url) => remoteTransport(url, apiKey, output, "block")),
    [first] = transports;
  const registered = servers.length === 1 ? await hostsForJobs(first, jobs, signal) : undefined;
  if (registered) {
    if (registered.length === 0) {
      throw new UsageError(
        `option --remote: ${first.baseUrl} lists no hosts, and their device decides whether a run can be continued`,
      );
    }
    output.remark(`pruning whole blocks in a job of ${first.baseUrl}, at ${describeHosts(registered)}`);
    const server = new BlockJobs(first, {
      name,
      onRetried: (block, attempts) => output.remark(`${block} took ${attempts} attempts`),
    });
    return { pruner: new RemoteBlocks(server, { config, format }), device: deviceOf(registered[0]) };
  }
  const onRebuild = (block: number) =>
    output.remark(
      `the host does not have the hidden states before block ${block}: running the blocks before it`,
    );
  const onNotDeleted = ({ message }: Error) =>
    output.remark(`the host still has the hidden states: ${message}`);
  const options = { config, onRebuild, onNotDeleted };
  // The same command in the same folder continues with the states that it has at the hosts.
  const nameOf = async (...share: readonly number[]) => {
    const identity = new TextEncoder().encode(JSON.stringify([fingerprint, resolve(out), ...share]));
    return (await sha256(identity)).toHex();
  };
  const [device] = await describeServers([first], signal);
  const described = deviceOf(device);
  if (servers.length > 1) {
    const layers = await remotePruner({ ...flags, jobs: false }, name, output, signal);
    // A host that trains blocks has the states of all windows too, under a name of their own.
    const indices = Array.from({ length: servers.length + 1 }, (_, index) => index);
    const names = await Promise.all(indices.map((index) => nameOf(servers.length, index)));
    const pruner = new DividedBlocks({
      ...options,
      hosts: transports.map((transport) => ({ ...transport, retries: RETRIES_AMONG_SEVERAL })),
      layers: layers!,
      nameOf: (index) => names[index],
      onHostLost: (url, { message }) =>
        output.remark(`${url} is lost (${message}); its windows go to another host`),
    });
    return { pruner, device: described };
  }
  await new Pare(first).checkKey({ signal });
  output.remark(`pruning whole blocks at ${describeHosts([device])}`);
  const host = new BlockHost(first, await nameOf());
  return { pruner: new RemoteBlocks(host, { ...options, format }), device: described };
}

function describeServers(transports: readonly TransportOptions[], signal: AbortSignal) {
  return Promise.all(
    transports.map((transport) => new Pare(firstContact(transport)).describeHost({ signal })),
  );
}

function deviceOf({ backend, adapter }: HostDescription) {
  return { kind: backend, adapter: { name: adapter } };
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
