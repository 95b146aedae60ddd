/**
 * Presents a model as a source of layers with calibration statistics, as in the SparseGPT paper. All calibration
 * windows run through each transformer block at least twice: before its layers are yielded, to add up their Hessians,
 * and after the consumer has replaced them, to compute the inputs of the next block. README.md has the other passes.
 * Passes that no pending layer needs are left out.
 */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import { withReplacements } from "../model/checkpoint/tensor_source.ts";
import type { ReconstructedBlock } from "../client/blocks/solved_block.ts";
import type { ModelSource } from "../client/model_source.ts";
import { Forward } from "../model/forward.ts";
import type { ForwardMemory } from "../model/plan_forward.ts";
import type { HiddenStatesStorage } from "../model/hidden_states/hidden_states.ts";
import type { Model } from "../model/model.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { errorAgainstModel, runPrunedBlock } from "./block_meter.ts";
import { reconstructBlock } from "./reconstruct_block.ts";
import { BlockPlan, type NameSet, type PendingGroup, type PlanOptions } from "./block_plan.ts";
import { type CalibrationStep, StepCounter } from "./calibration_steps.ts";
import { type CalibratedGroup, type OnReplace, type OpenBlock, openRound } from "./open_round.ts";
import { RoundStatistics, type StatisticsOptions } from "./round_statistics.ts";
import { type GuardOptions, guardTargets } from "./target_guard.ts";
import { partSizes } from "./window_parts.ts";

/** A model whose statistics are on the device. */
export interface CalibratedModel extends ModelSource<HessianAccumulator> {
  groups(): AsyncGenerator<CalibratedGroup, void, undefined>;
}

export interface CalibrationOptions extends PlanOptions, StatisticsOptions, GuardOptions {
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
  /** Whether a reconstruction trains the weight `name`. @default the pruned weights are trained */
  readonly isTrained?: (name: string) => boolean;
  /** Called after each reconstruction and the rounding after it, for example to write the trained tensors to files. */
  readonly onReconstruct?: (block: number, reconstructed: ReconstructedBlock) => Promise<void>;
  /** The names of the trained tensors of the blocks that an earlier run has reconstructed. `finished` reads them. */
  readonly reconstructed?: ReadonlyMap<number, readonly string[]>;
  readonly finished?: FinishedLayers;
  /**
   * Where the hidden states between blocks are stored. If a folder is given, a run that was killed resumes from the
   * last block whose hidden states are in the folder. The run that stored them must have pruned the layers in
   * `finished`.
   */
  readonly hiddenStates?: HiddenStatesStorage;
  readonly progress?: (step: CalibrationStep) => void;
  readonly memory?: ForwardMemory;
  /** Ends the calibration after the current batch. */
  readonly signal?: AbortSignal;
}

export interface FinishedLayers extends NameSet {
  /** Reads a pruned weight or a trained tensor, with the dtype and the bytes that `onReplace` was called with. */
  read(name: string): Promise<HostTensor>;
}

/**
 * Returns `model` as a source of calibrated layers. The consumer of a group may take or destroy its Hessians. Others
 * are destroyed at the end of the round. The generator of `groups` throws
 * - {RangeError} if the windows are empty, of different lengths or too long for the model,
 * - {Error} if a layer is not replaced before the next round is requested,
 * - the signal's reason if the signal is aborted.
 * @param backend runs the forward passes
 */
export function calibratedModel(
  model: Model,
  backend: Backend,
  options: CalibrationOptions,
): CalibratedModel {
  const plan = new BlockPlan(model.spec, options);
  return { layerCount: plan.layerCount, groups: () => groups(model, backend, plan, options) };
}

async function* groups(
  model: Model,
  backend: Backend,
  plan: BlockPlan,
  options: CalibrationOptions,
): AsyncGenerator<CalibratedGroup, void, undefined> {
  if (plan.isEmpty) return;
  const { windows, validationWindows = [], memory, hiddenStates } = options;
  const all = [...windows, ...validationWindows];
  using scratch = new ResourceSet();
  const forward = scratch.add(
    await Forward.begin(backend, model, all, {
      ...memory,
      storage: hiddenStates,
      parts: partSizes(options),
      hasDenseStream: options.hasTargets,
    }),
  );
  const firstBlock = forward.hiddenStates.nextBlock, { denseStates } = forward;
  const passes = (denseStates ? firstBlock : 0) + plan.passes(firstBlock).length;
  const steps = new StepCounter(passes, forward.hiddenStates.batches.length, options);
  while (denseStates && denseStates.nextBlock < firstBlock) await forward.runDenseBlock(steps.begin("run"));
  for (let block = firstBlock; block <= plan.lastBlock; block++) {
    yield* calibrateBlock({ forward, plan, steps, options }, block);
  }
}

/**
 * Returns one block of a model as a source of calibrated layers. The consumer handles its groups as those of
 * `calibratedModel`. With `runsLast`, the states of `forward` are then those after the pruned block.
 * @param forward a forward pass over the windows of `options`, before `block`. With targets, it has a dense stream.
 *   The caller destroys it. If the generator of `groups` throws or is left early, its states may be those of two blocks
 */
export function calibratedBlock(
  forward: Forward,
  block: number,
  options: CalibrationOptions,
): CalibratedModel {
  const plan = new BlockPlan(forward.model.spec, options);
  const steps = new StepCounter(plan.passes(block).length, forward.hiddenStates.batches.length, options);
  const work = { forward, plan, steps, options };
  return { layerCount: plan.layerCount, groups: () => calibrateBlock(work, block) };
}

/** Yields the groups of one block, reconstructs the block, measures its error, and runs the windows through it. */
async function* calibrateBlock(work: CalibrationWork, block: number): CalibratedGroups {
  const { forward, plan, steps, options } = work, { weights } = forward.model;
  const { windows, validationWindows = [], reconstructed, onReplace, onBlock, onReconstruct } = options;
  const trained = reconstructed?.get(block) ?? [];
  const replaced = await readFinished(new Set([...plan.finished(block), ...trained]), options);
  const prunedWeights = withReplacements(weights, replaced);
  const openBlock = { block, weights, replaced, onReplace };
  const result = plan.isRoundedLast(block)
    ? yield* reconstructAndRound(work, openBlock)
    : yield* solveAndReconstruct(work, openBlock, plan.rounds(block));
  if (result) await onReconstruct?.(block, result);
  const isMeasured = onBlock && validationWindows.length > 0 && replaced.size > 0;
  await runPrunedBlock(forward, openBlock, prunedWeights, {
    fitted: windows.length,
    advances: plan.runs(block),
    onError: isMeasured ? (error) => onBlock(block, error) : undefined,
    onBatchDone: steps.begin("run"),
  });
}

/** What the blocks of a calibration share. */
interface CalibrationWork {
  readonly forward: Forward;
  readonly plan: BlockPlan;
  readonly steps: StepCounter;
  readonly options: CalibrationOptions;
}

type CalibratedGroups<Result = void> = AsyncGenerator<CalibratedGroup, Result, undefined>;

/** Yields the groups of `rounds`, and then reconstructs the block, unless it has no epochs. */
async function* solveAndReconstruct(
  work: CalibrationWork,
  openBlock: OpenBlock,
  rounds: readonly (readonly PendingGroup[])[],
): CalibratedGroups<ReconstructedBlock | undefined> {
  const { forward, plan, steps, options: { windows, onTrained, isTrained } } = work, { block } = openBlock;
  // The plan is asked before the layers are solved, because the solved ones may count as finished afterwards.
  const runsDense = plan.runsDense(block);
  for (const round of rounds) yield* calibrateRound(work, round, openBlock, round === rounds.at(-1));
  if (runsDense) await forward.runDenseBlock(steps.begin("run"));
  const epochs = plan.epochs(block);
  if (epochs === 0) return undefined;
  const begin = () => steps.begin("train");
  const result = await reconstructBlock({
    forward,
    openBlock,
    epochs,
    fitted: windows.length,
    isTrained,
    begin,
  });
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
  work: CalibrationWork,
  openBlock: OpenBlock,
): CalibratedGroups<ReconstructedBlock> {
  const { plan, options } = work, { block, weights, replaced } = openBlock;
  const unrounded: OpenBlock = { block, weights, replaced: new Map() }, rounds = plan.allRounds(block);
  let result: ReconstructedBlock | undefined;
  await options.solveUnrounded!({
    layerCount: rounds.flat().reduce((sum, { layers }) => sum + layers.length, 0),
    async *groups() {
      result = yield* solveAndReconstruct(work, unrounded, rounds);
    },
  });
  const trained = { ...openBlock, weights: withReplacements(weights, unrounded.replaced), keepsZeros: true };
  const withoutTargets = { ...work, options: { ...options, hasTargets: false } };
  for (const round of plan.rounds(block)) yield* calibrateRound(withoutTargets, round, trained, false);
  const tensors = new Map([...result!.tensors].filter(([name]) => !replaced.has(name)));
  for (const [name, tensor] of tensors) replaced.set(name, tensor);
  return { ...result!, tensors };
}

/**
 * Calibrates the groups of a round by a forward pass through the block, then yields them in order.
 * @param isLast whether the round is the last one of the block
 */
async function* calibrateRound(
  work: CalibrationWork,
  round: readonly PendingGroup[],
  openBlock: OpenBlock,
  isLast: boolean,
): CalibratedGroups {
  const { forward, plan, steps, options } = work, { block, replaced } = openBlock;
  const { windows, trueSequential } = options;
  const weights = trueSequential ? withReplacements(openBlock.weights, replaced) : openBlock.weights;
  const begun = steps.begin("observe"), advancesDense = isLast && plan.advancesDense(block);
  using scratch = new ResourceSet();
  const statistics = scratch.add(
    await RoundStatistics.accumulate(forward, round, block, weights, begun, { ...options, advancesDense }),
  );
  const measure = (solution: ReadonlyMap<string, HostTensor>) =>
    errorAgainstModel(forward, block, withReplacements(openBlock.weights, solution), windows.length);
  const guard = guardTargets(openBlock, round, options, measure);
  yield* openRound(round, openBlock, (group) => statistics.of(group), guard);
}

/** Wraps `source` so that the function that `replaceOf` returns takes the place of the `replace` of each group. */
export function withReplace(
  source: CalibratedModel,
  replaceOf: (group: CalibratedGroup) => CalibratedGroup["replace"],
): CalibratedModel {
  return {
    layerCount: source.layerCount,
    async *groups() {
      for await (const group of source.groups()) yield { ...group, replace: replaceOf(group) };
    },
  };
}

/** Reads the weights of `names` that an earlier run has pruned. */
export async function readFinished(
  names: Iterable<string>,
  { finished }: Pick<CalibrationOptions, "finished">,
): Promise<Map<string, HostTensor>> {
  const replaced = new Map<string, HostTensor>();
  if (finished) { for (const name of names) replaced.set(name, await finished.read(name)); }
  return replaced;
}
