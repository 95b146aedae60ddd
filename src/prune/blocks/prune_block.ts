/** Prunes one block of a model at the host that has its hidden states. The code is that of a run on one machine. */

import type { SolvedBlock, SolvedBlockLayer } from "../../client/blocks/solved_block.ts";
import type { LayerEvent } from "../../client/model_pruner.ts";
import type { Forward } from "../../model/forward.ts";
import { PROBE_ROWS } from "../../protocol/block_names.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { calibratedBlock } from "../calibrated_model.ts";
import type { CalibratedModel } from "../open_round.ts";
import { type CalibratedPruner, DevicePruner } from "../device_pruner.ts";
import { gridOfQuery, quantizedModel } from "../quantized_model.ts";
import { pruneModel } from "../run/prune_model.ts";
import type { PruneJob } from "../run/job.ts";

export interface BlockTask
  extends Pick<PruneJob, "windows" | "validationWindows" | "trueSequential" | "reconstruct"> {
  /** A forward pass over the windows, before `block`. Its model has the weights of the block. */
  readonly forward: Forward;
  readonly block: number;
  /** The parameters of the layers to prune, by the names of their weights. */
  readonly queries: ReadonlyMap<string, LayerQuery>;
  /** Whether the windows then run through the pruned block, so that `forward` is before the next block. */
  readonly advances: boolean;
  /** Whether rounded weights are those of the layout `pack-quantized`, which rounds the scales of their grids. */
  readonly isPacked: boolean;
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
  const { forward, block, queries, isPacked, advances, reconstruct, signal } = task;
  const { backend, model } = forward, device = new DevicePruner(backend);
  const queryOf = (name: string) => queries.get(name) ?? {};
  // The reports of layers that are rounded last compare them with the trained weights, which the client does not have.
  const isRoundedLast = reconstruct && [...queries.values()].some(({ bits }) => bits !== undefined);
  const probes = isRoundedLast ? 0 : PROBE_ROWS;
  const weights = new Map<string, RecordedAnswer>();
  const events = new Map<string, LayerEvent>();
  const stopIfAborted = () => {
    if (forward.isBefore(block)) signal?.throwIfAborted();
  };
  const pruner: CalibratedPruner = {
    calibrate: (_model, options) =>
      calibratedBlock(forward, block, { ...options, runsLast: advances, probes, progress: stopIfAborted }),
    async *pruneModel(...args) {
      for await (const event of device.pruneModel(...args)) {
        stopIfAborted();
        if (event.type === "layer") events.set(event.name, event);
        yield event;
      }
    },
  };
  const solved: { -readonly [name in keyof SolvedBlock]: SolvedBlock[name] } = { layers: [] };
  // The run does not get the signal, because it would throw while the device still works for it.
  await pruneModel({
    ...task,
    model,
    target: forward.denseStates ? "dense" : "none",
    queryOf,
    layers: queries,
    destination: {
      fill: (prune) =>
        prune({
          wrap: (source) =>
            recordAnswers(
              isPacked ? quantizedModel(source, (name) => gridOfQuery(queryOf(name)), done) : source,
              weights,
            ),
          replace: done,
          recordBlock: (_block, error) => done(solved.error = error),
          recordDecision: (_block, decision) => done(solved.decision = decision),
          recordReconstruction: (_block, reconstructed) => done(solved.reconstructed = reconstructed),
        }),
    },
  }, { backend, pruner });
  // The run has replaced every layer of which it has reported the end.
  const layers = [...events.values()].map(({ name, tokens, report }) => ({
    name,
    tokens,
    report,
    ...weights.get(name)!,
  }));
  return { ...solved, layers };
}

function done(_result: unknown): Promise<void> {
  return Promise.resolve();
}

/** The tensors of a layer of the answer. */
type RecordedAnswer = Pick<SolvedBlockLayer, "weight" | "mask" | "quantized" | "probe">;

/** Adds the answers for the layers of `source` to `weights`. */
function recordAnswers(
  source: CalibratedModel,
  weights: Map<string, RecordedAnswer>,
): CalibratedModel {
  return {
    layerCount: source.layerCount,
    async *groups() {
      for await (const group of source.groups()) {
        const probe = await group.hessian?.probe();
        yield {
          ...group,
          replace(name, weight, quantized, kept, mask) {
            const copy = { ...mask!, data: mask!.data.slice() };
            weights.set(name, { weight, mask: copy, quantized, probe });
            return group.replace(name, weight, quantized, kept);
          },
        };
      }
    },
  };
}
