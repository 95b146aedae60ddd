/** Prunes a model in memory, in this process or at hosts, and returns everything that must not depend on where the run computes. */

import { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { PareHosts } from "../../../src/client/pare_hosts.ts";
import type { TransportOptions } from "../../../src/client/transport.ts";
import { DividedBlocks, type DividedBlocksOptions } from "../../../src/prune/blocks/divided_blocks.ts";
import { RemoteBlocks, type RemoteBlocksOptions } from "../../../src/prune/blocks/remote_blocks.ts";
import type { ReconstructedBlock } from "../../../src/protocol/blocks/solved_block.ts";
import type { Report } from "../../../src/protocol/messages.ts";
import type { OpenDestination, PruneJob, PruneServices } from "../../../src/prune/run/job.ts";
import { pruneModel } from "../../../src/prune/run/prune_model.ts";
import { copyTensor, type HostTensor } from "../../../src/tensor/host_tensor.ts";
import { type LocalHost, openLocalHost } from "../../support/local_host.ts";

/** The results of a run that must not depend on where it runs. */
export interface Outcome {
  readonly replaced: ReadonlyMap<string, HostTensor>;
  readonly reports: ReadonlyMap<string, { readonly report: Partial<Report> }>;
  readonly errors: ReadonlyMap<number, number>;
  readonly decisions: ReadonlyMap<number, unknown>;
  readonly trained: ReadonlyMap<string, HostTensor>;
  readonly reconstructions: ReadonlyMap<number, Pick<ReconstructedBlock, "before" | "after" | "keptEpoch">>;
}

/** Runs the job in memory. @param changes replaces functions of the destination */
export async function runInMemory(
  job: PruneJob,
  services: PruneServices,
  changes: Partial<OpenDestination> = {},
): Promise<Outcome> {
  const replaced = new Map<string, HostTensor>(),
    reports = new Map<string, { tokens?: number; report: Partial<Report> }>();
  const errors = new Map<number, number>(), decisions = new Map<number, unknown>();
  const trained = new Map<string, HostTensor>(), reconstructions: Outcome["reconstructions"] = new Map();
  const set = <Key, Value>(map: Map<Key, Value>, key: Key, value: Value) =>
    Promise.resolve(void map.set(key, value));
  await pruneModel({
    ...job,
    destination: {
      fill: (prune) =>
        prune({
          replace: (name, weight) => set(replaced, name, copyTensor(weight)),
          readFinished: (name) => Promise.resolve(trained.get(name) ?? replaced.get(name)!),
          recordBlockError: (block, error) => set(errors, block, error),
          recordDecision: (block, decision) => set(decisions, block, decision),
          async recordReconstruction(block, { before, after, keptEpoch, tensors }) {
            await set(reconstructions as Map<number, unknown>, block, { before, after, keptEpoch });
            for (const [name, tensor] of tensors) await set(trained, name, copyTensor(tensor));
          },
          record: ({ name, tokens, report: { seconds: _, factor_reused: _reused, ...report } }) =>
            set(reports, name, { tokens, report }),
          ...changes,
        }),
    },
  }, services);
  return { replaced, reports, errors, decisions, trained, reconstructions };
}

/** Runs the job on the device of a host, but in this process. @param changes replaces functions of the destination */
export function runAlone(job: PruneJob, { backend, pruner }: LocalHost, changes?: Partial<OpenDestination>) {
  return runInMemory(job, { backend, pruner }, changes);
}

/** Opens the host of `runAlone` and two hosts that receive requests, and closes them after the test. */
export async function withHosts(
  test: (near: LocalHost, hosts: readonly [LocalHost, LocalHost]) => Promise<void>,
): Promise<void> {
  await using near = await openLocalHost("cpu");
  // If a host is lost, the other one gets requests for several shares of the windows.
  await using one = await openLocalHost("cpu", {}, 4);
  await using two = await openLocalHost("cpu", {}, 4);
  await test(near, [one, two]);
}

type Config = RemoteBlocksOptions["config"];

/** Makes a pruner of whole blocks at one host, where the states are called "run". */
export function remote(
  host: TransportOptions,
  config: Config,
  options: Partial<RemoteBlocksOptions> = {},
): RemoteBlocks {
  return new RemoteBlocks(new BlockHost(host, "run"), { config, format: "dense", ...options });
}

/** Makes a pruner that divides the windows over hosts, where the states are called "run-0", "run-1" and so on. */
export function divided(
  hosts: readonly TransportOptions[],
  config: Config,
  options: Partial<DividedBlocksOptions> = {},
): DividedBlocks {
  const layers = new PareHosts(hosts, { onHostLost: () => {} });
  return new DividedBlocks({ config, hosts, layers, nameOf: (index) => `run-${index}`, ...options });
}
