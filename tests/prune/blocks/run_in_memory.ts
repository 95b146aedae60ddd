/** Prunes a model in memory, and returns everything that must not depend on where the run computes. */

import type { ReconstructedBlock } from "../../../src/protocol/blocks/solved_block.ts";
import type { OpenDestination, PruneJob, PruneServices } from "../../../src/prune/run/job.ts";
import { pruneModel } from "../../../src/prune/run/prune_model.ts";
import { copyTensor, type HostTensor } from "../../../src/tensor/host_tensor.ts";

/** What a run does with a model: everything that must not depend on where it runs. */
export interface Outcome {
  readonly replaced: ReadonlyMap<string, HostTensor>;
  readonly reports: ReadonlyMap<string, unknown>;
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
  const replaced = new Map<string, HostTensor>(), reports = new Map<string, unknown>();
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
          recordBlock: (block, error) => set(errors, block, error),
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
