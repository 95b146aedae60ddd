/** The loop of a run: each block is opened, its layers are calibrated, solved and stored round by round, and the windows run through it. */

import type { ReconstructedBlock } from "../protocol/blocks/solved_block.ts";
import type { RoundLayer } from "../protocol/run/solve_round.ts";
import { ResourceSet } from "../device/owned.ts";
import { withReplacements } from "../model/checkpoint/tensor_source.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { PendingGroup } from "./block_plan.ts";
import { groupsOf, type OpenBlock, storedWeight } from "./open_block.ts";
import type { OpenDestination } from "./run/job.ts";
import type { LapClock } from "./run/lap_clock.ts";
import type { RoundingQueries } from "./run/solve_queries.ts";
import type { BlockStates, Round, RoundSolver } from "./steps.ts";
import { decideTargets, solutionQuery, solutionsOf } from "./target_guard.ts";

export interface BlockRun extends Pick<RoundingQueries, "queryOf" | "unroundedQueryOf"> {
  readonly states: BlockStates;
  readonly solver: Pick<RoundSolver, "solveRound">;
  readonly destination: OpenDestination;
  /** Whether each layer gets a target (see `TargetStatistics`). */
  readonly hasTargets: boolean;
  /** Whether the held-out windows decide about the targets of each block. */
  readonly decidesTargets: boolean;
  /** The number of held-out windows, which measure the errors of blocks. */
  readonly heldOut: number;
  readonly clock: LapClock;
  readonly signal?: AbortSignal;
  /** Records a layer whose weight is stored. */
  recordLayer(layer: RoundLayer): Promise<void>;
  /** Reports a trained block, whose layers may still have to be rounded. */
  onTrained?(block: number, result: ReconstructedBlock): void;
}

/** Prunes all blocks of a run in order. */
export async function pruneBlocks(run: BlockRun): Promise<void> {
  for (const block of run.states.blocks) await pruneBlock(run, block);
  await run.states.end?.();
}

/** Prunes one block of a run, and runs the windows through it. */
export async function pruneBlock(run: BlockRun, block: number): Promise<void> {
  const { states, clock, destination, heldOut } = run, { plan } = states;
  const open = await clock.calibrating(states.open(block)), { decision } = open;
  if (decision && !destination.decided?.has(block)) await destination.recordDecision?.(block, decision);
  const trained = plan.isRoundedLast(block)
    ? await trainAndRound(run, open)
    : await solveAndTrain(run, open, plan.rounds(block), true);
  if (trained) await destination.recordReconstruction?.(block, trained);
  const measures = heldOut > 0 && open.replaced.size > 0 && destination.recordBlockError !== undefined;
  const error = await clock.calibrating(states.advance(open, measures));
  if (error !== undefined) await destination.recordBlockError!(block, error);
  if (states.store) await clock.calibrating(states.store());
}

/**
 * Solves the layers of `rounds`, and then trains the block if epochs are left for it.
 * @param isStored whether the solutions are stored. Otherwise the layers are solved again after the training
 */
async function solveAndTrain(
  run: BlockRun,
  open: OpenBlock,
  rounds: readonly (readonly PendingGroup[])[],
  isStored: boolean,
): Promise<ReconstructedBlock | undefined> {
  const { states, clock, hasTargets } = run, { plan } = states, { block } = open;
  // The plan is asked before the layers are solved, because they may count as finished afterwards.
  const runsDense = plan.runsDense(block), epochs = plan.epochs(block);
  for (const groups of rounds) {
    const advancesDense = plan.advancesDense(block) && groups === rounds.at(-1);
    await solveRound(run, open, { groups, hasTargets, advancesDense }, isStored);
  }
  if (runsDense && states.runDense) await clock.calibrating(states.runDense());
  const result = epochs > 0 ? await clock.leavingOut(states.train(open, epochs)) : undefined;
  if (result) run.onTrained?.(block, result);
  return result;
}

/**
 * Solves the layers of the block without rounding, trains the block, and then solves its pending layers again, which rounds the trained
 * weights and keeps their zeros. The second solve has no targets, because the trained weights make up for the errors of earlier layers
 * already.
 * @returns the reconstruction with the trained tensors that are not rounded
 */
async function trainAndRound(run: BlockRun, open: OpenBlock): Promise<ReconstructedBlock | undefined> {
  const { plan } = run.states, { block, weights, replaced } = open;
  const unrounded: OpenBlock = { block, weights, replaced: new Map() };
  const result = await solveAndTrain(run, unrounded, plan.allRounds(block), false);
  const trained = { ...open, weights: withReplacements(weights, unrounded.replaced), keepsZeros: true };
  for (const groups of plan.rounds(block)) {
    await solveRound(run, trained, { groups, hasTargets: false, advancesDense: false }, true);
  }
  const tensors = new Map([...result!.tensors].filter(([name]) => !replaced.has(name)));
  for (const [name, tensor] of tensors) replaced.set(name, tensor);
  return { ...result!, tensors };
}

/** Collects the statistics of a round, has its layers solved, and replaces their weights. Also stores the weights if `isStored` is true. */
async function solveRound(run: BlockRun, open: OpenBlock, round: Round, isStored: boolean): Promise<void> {
  const { states, solver, destination, clock, signal } = run, solutions = solutionsOf(run, open, round);
  const queryOf = isStored ? run.queryOf : run.unroundedQueryOf;
  using scratch = new ResourceSet();
  const collected = scratch.add(await clock.calibrating(states.collect(open, round)));
  const solving = solver.solveRound(
    groupsOf(open, round.groups, collected, (layer) => solutions.map((solution) => ({ ...layer, solution }))),
    (layer) => solutionQuery(queryOf(layer.name), layer, solutions),
    { signal },
  );
  const layers = round.groups.flatMap(({ layers }) => layers);
  const linears = new Map(layers.map(({ name, linear }) => [name, linear]));
  const weightOf = (name: string, weight: HostTensor) =>
    storedWeight(open.weights, name, linears.get(name)!, weight);
  const solved = solutions.length > 1 ? await decideTargets(run, open, solving, weightOf) : solving;
  for await (const layer of solved) {
    const { layer: { name } } = layer, taken = isStored ? await destination.takeAnswer?.(layer) : undefined;
    // The next block is calibrated with the weights in the dtype in which they are stored.
    const weight = weightOf(name, taken ?? layer.weight);
    if (isStored) await destination.replace(name, weight);
    open.replaced.set(name, weight);
    if (isStored) await run.recordLayer(layer);
  }
  const missing = [...linears.keys()].find((name) => !open.replaced.has(name));
  if (missing !== undefined) throw new Error(`${missing}: the solver has returned no weight`);
}
