/**
 * The course of one block of a run: its layers are calibrated and solved, the block is reconstructed, and the windows run
 * through it. The hidden states of the windows are in this process or at hosts.
 */

import type { ReconstructedBlock } from "../client/blocks/solved_block.ts";
import { type TensorSource, withReplacements } from "../model/checkpoint/tensor_source.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { BlockPlan, NameSet, PendingGroup, PlanOptions } from "./block_plan.ts";
import type { CalibratedGroup, CalibratedModel, OnReplace, OpenBlock } from "./open_round.ts";
import type { GuardOptions } from "./target_guard.ts";

export interface BlockOptions extends PlanOptions, GuardOptions {
  /** Called with each pruned weight, converted to the dtype of the checkpoint, for example to write it to a file. */
  readonly onReplace?: OnReplace;
  /**
   * Called after each block with pruned layers, with the error of its output on the held-out windows (see
   * `runPrunedBlock`), if there are any.
   */
  readonly onBlock?: (block: number, error: number) => Promise<void>;
  /** Solves layers without rounding them. Needed if a block that is reconstructed has a layer that is rounded. */
  readonly solveUnrounded?: (source: CalibratedModel) => Promise<void>;
  /** Called when a block has been trained. Its layers may still have to be rounded. */
  readonly onTrained?: (block: number, result: ReconstructedBlock) => void;
  /** Called after each reconstruction and the rounding after it, for example to write the trained tensors to files. */
  readonly onReconstruct?: (block: number, reconstructed: ReconstructedBlock) => Promise<void>;
  /** The names of the trained tensors of the blocks that an earlier run has reconstructed. `finished` reads them. */
  readonly reconstructed?: ReadonlyMap<number, readonly string[]>;
  readonly finished?: FinishedLayers;
}

export interface FinishedLayers extends NameSet {
  /** Reads a pruned weight or a trained tensor, with the dtype and the bytes that `onReplace` was called with. */
  read(name: string): Promise<HostTensor>;
}

export interface RoundOptions {
  /** Whether the layers of the round get targets. */
  readonly hasTargets: boolean;
  /** Whether the round is the last one of its block. The states of the dense model may then run through the block. */
  readonly isLast: boolean;
}

export type CalibratedGroups<Result = void> = AsyncGenerator<CalibratedGroup, Result, undefined>;

/** The hidden states of all windows before a block, and with targets those of the dense model. */
export interface BlockStates {
  /** Yields the groups of a round, with their statistics. */
  calibrateRound(
    round: readonly PendingGroup[],
    openBlock: OpenBlock,
    options: RoundOptions,
  ): CalibratedGroups;
  /** Runs the states of the dense model through the block. Undefined if they run through it together with the others. */
  runDense?(): Promise<void>;
  /** Trains a block, whose layers are pruned (see `reconstructBlock`). Adds the trained tensors to those that it replaces. */
  reconstruct(openBlock: OpenBlock, epochs: number): Promise<ReconstructedBlock>;
  /**
   * Runs the states through the pruned block, if the run needs its outputs.
   * @param onError receives the error of the outputs of the held-out windows. Without it, no error is measured
   */
  run(openBlock: OpenBlock, onError?: (error: number) => Promise<void>): Promise<void>;
}

/** A run whose blocks are calibrated in order. */
export interface BlockRun {
  readonly plan: BlockPlan;
  /** The weights of the dense model. */
  readonly weights: TensorSource;
  readonly states: BlockStates;
  readonly options: BlockOptions;
}

/** Yields the groups of one block, reconstructs the block, measures its error, and runs the windows through it. */
export async function* calibrateBlock(run: BlockRun, block: number): CalibratedGroups {
  const { plan, weights, states, options } = run;
  const { validationWindows = [], reconstructed, onReplace, onBlock, onReconstruct } = options;
  const trained = reconstructed?.get(block) ?? [];
  const replaced = await readFinished(new Set([...plan.finished(block), ...trained]), options);
  const openBlock = { block, weights, replaced, onReplace };
  const result = plan.isRoundedLast(block)
    ? yield* reconstructAndRound(run, openBlock)
    : yield* solveAndReconstruct(run, openBlock, plan.rounds(block));
  if (result) await onReconstruct?.(block, result);
  const isMeasured = onBlock && validationWindows.length > 0 && replaced.size > 0;
  await states.run(openBlock, isMeasured ? (error) => onBlock(block, error) : undefined);
}

/** Yields the groups of `rounds`, and then reconstructs the block, unless it has no epochs. */
async function* solveAndReconstruct(
  { plan, states, options: { hasTargets = false, onTrained } }: BlockRun,
  openBlock: OpenBlock,
  rounds: readonly (readonly PendingGroup[])[],
): CalibratedGroups<ReconstructedBlock | undefined> {
  const { block } = openBlock;
  // The plan is asked before the layers are solved, because the solved ones may count as finished afterwards.
  const runsDense = plan.runsDense(block);
  for (const round of rounds) {
    yield* states.calibrateRound(round, openBlock, { hasTargets, isLast: round === rounds.at(-1) });
  }
  if (runsDense) await states.runDense?.();
  const epochs = plan.epochs(block);
  if (epochs === 0) return undefined;
  const result = await states.reconstruct(openBlock, epochs);
  onTrained?.(block, result);
  return result;
}

/**
 * Has the layers of the block solved without rounding, reconstructs the block, and then yields its pending layers with
 * the trained weights and their zeros. Their targets are the outputs of the trained layers, which make up for the
 * errors of the earlier layers already. If a process is killed before the reconstruction is recorded, the next one
 * solves and trains the block again, gets the same weights, and rounds the layers that are not recorded.
 * @returns the reconstruction with the trained tensors that are not rounded
 */
async function* reconstructAndRound(
  run: BlockRun,
  openBlock: OpenBlock,
): CalibratedGroups<ReconstructedBlock> {
  const { plan, states, options } = run, { block, weights, replaced } = openBlock;
  const unrounded: OpenBlock = { block, weights, replaced: new Map() }, rounds = plan.allRounds(block);
  let result: ReconstructedBlock | undefined;
  await options.solveUnrounded!({
    layerCount: rounds.flat().reduce((sum, { layers }) => sum + layers.length, 0),
    async *groups() {
      result = yield* solveAndReconstruct(run, unrounded, rounds);
    },
  });
  const trained = { ...openBlock, weights: withReplacements(weights, unrounded.replaced), keepsZeros: true };
  for (const round of plan.rounds(block)) {
    yield* states.calibrateRound(round, trained, { hasTargets: false, isLast: false });
  }
  const tensors = new Map([...result!.tensors].filter(([name]) => !replaced.has(name)));
  for (const [name, tensor] of tensors) replaced.set(name, tensor);
  return { ...result!, tensors };
}

/** Reads the weights of `names` that an earlier run has pruned. */
async function readFinished(
  names: Iterable<string>,
  { finished }: BlockOptions,
): Promise<Map<string, HostTensor>> {
  const replaced = new Map<string, HostTensor>();
  if (finished) { for (const name of names) replaced.set(name, await finished.read(name)); }
  return replaced;
}
