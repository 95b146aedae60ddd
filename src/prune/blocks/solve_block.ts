/** Prunes one block of a model at the host that has its hidden states, by the steps of a run on one machine. */

import type { HessianAccumulator } from "../../layer/calibration/hessian.ts";
import { codedFormat } from "../../model/formats/formats.ts";
import type { Forward } from "../../model/forward.ts";
import { PROBE_ROWS } from "../../protocol/blocks/block_names.ts";
import type { SolvedBlock, SolvedBlockLayer } from "../../protocol/blocks/solved_block.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { PruneStep } from "../../protocol/resources/blocks.ts";
import { sentOptions } from "../../protocol/run/run_options.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { SolveRound } from "../../protocol/run/solve_round.ts";
import { BlockPlan } from "../block_plan.ts";
import { DevicePruner } from "../device_pruner.ts";
import { LocalStates } from "../local_states.ts";
import type { CalibratedGroup } from "../open_block.ts";
import { packAnswer } from "../quantized_model.ts";
import { pruneBlock } from "../run.ts";
import type { OpenDestination, PruneJob } from "../run/job.ts";
import { LapClock } from "../run/lap_clock.ts";
import { decidesTargets } from "../target_guard.ts";
import { isRoundedBy, roundingQueries, weighedJob } from "../run/solve_queries.ts";

export interface SolveOptions extends Pick<PruneJob, "windows" | "validationWindows"> {
  /** The parameters of the layers to prune, by the names of their weights. */
  readonly layers: ReadonlyMap<string, LayerQuery>;
  /** Called after each batch and each layer. It may throw to stop the work. When `solveBlock` throws, all work has ended. */
  progress(): void;
}

/**
 * Prunes a block. If it throws, some states of `forward` may already be behind the block (see `Forward.isBefore`).
 * @param forward a forward pass over the windows, before the block. Its model has the weights of the block
 * @throws the errors of `pruneBlock`
 */
export async function solveBlock(
  forward: Forward,
  { block, advance: runsLast, ...sent }: PruneStep,
  { progress, ...given }: SolveOptions,
): Promise<SolvedBlock> {
  const { backend, model } = forward, hasTargets = forward.denseStates !== undefined;
  const { format, ...run } = sentOptions(sent), heldOut = given.validationWindows?.length ?? 0;
  const queryOf = (name: string) => given.layers.get(name) ?? {}, target = hasTargets ? "dense" : "none";
  const job = weighedJob({ ...given, ...run, model, queryOf, target, runsLast });
  const isRounded = isRoundedBy(job.queryOf);
  // The reports of layers that are rounded last compare them with the trained weights, which the client does not have.
  const probes = new BlockPlan(model.spec, { ...job, isRounded }).isRoundedLast(block) ? 0 : PROBE_ROWS;
  const options = { ...job, hasTargets, isRounded, probes, progress };
  const stored = codedFormat(format ?? "dense");
  const layers: SolvedBlockLayer[] = [], probeOf = new Map<string, HostTensor | undefined>();
  const solved: { -readonly [name in keyof SolvedBlock]: SolvedBlock[name] } = { layers };
  const destination: OpenDestination = {
    takeAnswer(answer) {
      const { layer: { name }, group: { tokens }, weight, quantized, report } = answer;
      const mask = { ...answer.mask!, data: answer.mask!.data.slice() };
      layers.push({ name, tokens, report, weight, mask, quantized, probe: probeOf.get(name) });
      return Promise.resolve(packAnswer(stored, queryOf(name), answer).dense);
    },
    replace: done,
    recordBlockError: (_block, error) => done(solved.error = error),
    recordDecision: (_block, decision) => done(solved.decision = decision),
    recordReconstruction: (_block, reconstructed) => done(solved.reconstructed = reconstructed),
  };
  const solveRound: SolveRound<HessianAccumulator> = (groups, ...others) =>
    new DevicePruner(backend).solveRound(withProbes(groups, probeOf), ...others);
  // The run does not get the signal of the request, because it would throw while the device still works for it.
  await pruneBlock({
    ...roundingQueries(job),
    states: LocalStates.ofBlock(forward, block, options),
    solver: { solveRound },
    destination,
    hasTargets,
    decidesTargets: decidesTargets(job, heldOut),
    heldOut,
    clock: new LapClock(),
    recordLayer: () => done(progress()),
  }, block);
  return solved;
}

/** Adds the probe of each layer to `probeOf` before its statistics go to the solver. */
async function* withProbes(
  groups: AsyncIterable<CalibratedGroup>,
  probeOf: Map<string, HostTensor | undefined>,
): AsyncGenerator<CalibratedGroup, void, undefined> {
  for await (const group of groups) {
    const probe = await group.hessian?.probe();
    for (const { name } of group.layers) probeOf.set(name, probe);
    yield group;
  }
}

function done(_result: unknown): Promise<void> {
  return Promise.resolve();
}
