/** Prunes one block of a model at the host that has its hidden states. The code is that of a run on one machine. */

import type { SolvedBlock, SolvedBlockLayer } from "../../client/blocks/solved_block.ts";
import type { Forward } from "../../model/forward.ts";
import { PROBE_ROWS } from "../../protocol/block_names.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { SentOptions } from "../../protocol/run_options.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { DevicePruner } from "../device_pruner.ts";
import { LocalStates } from "../local_states.ts";
import { gridOfQuery, storePacked } from "../quantized_model.ts";
import { pruneModel } from "../run/prune_model.ts";
import type { OpenDestination, PruneJob } from "../run/job.ts";
import type { RoundSolver } from "../steps.ts";

export interface BlockTask extends Pick<PruneJob, "windows" | "validationWindows">, SentOptions {
  /** A forward pass over the windows, before `block`. Its model has the weights of the block. */
  readonly forward: Forward;
  readonly block: number;
  /** The parameters of the layers to prune, by the names of their weights. */
  readonly queries: ReadonlyMap<string, LayerQuery>;
  /** Whether the windows then run through the pruned block, so that `forward` is before the next block. */
  readonly advances: boolean;
  /**
   * Stops the work after the current batch or layer, so that nothing runs any more when `pruneBlock` throws. Once the states
   * have begun to change, the work continues to its end, because states of two blocks would be lost.
   */
  readonly signal?: AbortSignal;
}

/**
 * Prunes the block. If it throws, the states of `task.forward` may be those of two blocks (see `Forward.isBefore`).
 * @throws the errors of `pruneModel`, and the reason of the signal
 */
export async function pruneBlock(task: BlockTask): Promise<SolvedBlock> {
  const { forward, block, queries, format, advances, reconstruct, signal } = task;
  const { backend, model } = forward, device = new DevicePruner(backend);
  const queryOf = (name: string) => queries.get(name) ?? {};
  // The reports of layers that are rounded last compare them with the trained weights, which the client does not have.
  const isRoundedLast = reconstruct && [...queries.values()].some(({ bits }) => bits !== undefined);
  const probes = isRoundedLast ? 0 : PROBE_ROWS, probeOf = new Map<string, HostTensor | undefined>();
  const stopIfAborted = () => {
    if (forward.isBefore(block)) signal?.throwIfAborted();
  };
  const pruner: RoundSolver = {
    begin: ({ options }) =>
      LocalStates.ofBlock(forward, block, { ...options, probes, progress: stopIfAborted }),
    async *solveRound(groups, ...options) {
      const probed = async function* () {
        for await (const group of groups) {
          const probe = await group.hessian?.probe();
          for (const { name } of group.layers) probeOf.set(name, probe);
          yield group;
        }
      };
      for await (const layer of device.solveRound(probed(), ...options)) {
        stopIfAborted();
        yield layer;
      }
    },
  };
  const layers: SolvedBlockLayer[] = [];
  const solved: { -readonly [name in keyof SolvedBlock]: SolvedBlock[name] } = { layers };
  const open: OpenDestination = {
    takeAnswer(layer) {
      const { layer: { name }, group: { tokens }, weight, quantized, report } = layer;
      const mask = { ...layer.mask!, data: layer.mask!.data.slice() };
      layers.push({ name, tokens, report, weight, mask, quantized, probe: probeOf.get(name) });
      return format === "pack-quantized"
        ? storePacked(layer, gridOfQuery(queryOf(name)), done)
        : Promise.resolve(layer.weight);
    },
    replace: done,
    recordBlock: (_block, error) => done(solved.error = error),
    recordDecision: (_block, decision) => done(solved.decision = decision),
    recordReconstruction: (_block, reconstructed) => done(solved.reconstructed = reconstructed),
  };
  // The run does not get the signal, because it would throw while the device still works for it.
  await pruneModel({
    ...task,
    model,
    target: forward.denseStates ? "dense" : "none",
    queryOf,
    layers: queries,
    runsLast: advances,
    destination: { fill: (prune) => prune(open) },
  }, { backend, pruner });
  return solved;
}

function done(_result: unknown): Promise<void> {
  return Promise.resolve();
}
