/**
 * Presents a model as a source of layers with calibration statistics, as in the SparseGPT paper. All calibration
 * windows run through a transformer block before its layers are yielded, to add up their Hessians,
 * and again after the consumer has replaced them, to compute the inputs of the next block. README.md has the other passes.
 * Passes that no pending layer needs are left out.
 */

import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import { withReplacements } from "../model/checkpoint/tensor_source.ts";
import { Forward } from "../model/forward.ts";
import type { ForwardMemory } from "../model/plan_forward.ts";
import type { HiddenStatesStorage } from "../model/hidden_states/hidden_states.ts";
import type { Model } from "../model/model.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { errorAgainstModel, runPrunedBlock } from "./block_meter.ts";
import { reconstructBlock } from "./reconstruct_block.ts";
import { BlockPlan, type PendingGroup } from "./block_plan.ts";
import {
  type BlockOptions,
  type BlockRun,
  type BlockStates,
  calibrateBlock,
  type CalibratedGroups,
  type RoundOptions,
} from "./calibrate_block.ts";
import { type CalibrationStep, StepCounter } from "./calibration_steps.ts";
import { type CalibratedGroup, type CalibratedModel, type OpenBlock, openRound } from "./open_round.ts";
import { RoundStatistics, type StatisticsOptions } from "./round_statistics.ts";
import { guardTargets } from "./target_guard.ts";
import { partSizes } from "./window_parts.ts";

export interface CalibrationOptions extends StatisticsOptions, BlockOptions {
  /** Whether a reconstruction trains the weight `name`. @default the pruned weights are trained */
  readonly isTrained?: (name: string) => boolean;
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
  const run = blockRun({ forward, plan, steps, options });
  for (let block = firstBlock; block <= plan.lastBlock; block++) {
    yield* calibrateBlock(run, block);
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
  const run = blockRun({ forward, plan, steps, options });
  return { layerCount: plan.layerCount, groups: () => calibrateBlock(run, block) };
}

/** What the blocks of a calibration in this process share. */
interface CalibrationWork {
  readonly forward: Forward;
  readonly plan: BlockPlan;
  readonly steps: StepCounter;
  readonly options: CalibrationOptions;
}

/** Returns the run whose hidden states are those of the forward pass. */
function blockRun(work: CalibrationWork): BlockRun {
  const { forward, plan, steps, options } = work,
    { weights } = forward.model,
    { windows, isTrained } = options;
  const fitted = windows.length, begin = () => steps.begin("train");
  const states: BlockStates = {
    calibrateRound: (...round) => calibrateRound(work, ...round),
    runDense: () => forward.runDenseBlock(steps.begin("run")),
    reconstruct: (openBlock, epochs) =>
      reconstructBlock({ forward, openBlock, epochs, fitted, isTrained, begin }),
    run: (openBlock, onError) =>
      runPrunedBlock(forward, openBlock, withReplacements(weights, openBlock.replaced), {
        fitted,
        advances: plan.runs(openBlock.block),
        onError,
        onBatchDone: steps.begin("run"),
      }),
  };
  return { plan, weights, states, options };
}

/** Calibrates the groups of a round by a forward pass through the block, then yields them in order. */
async function* calibrateRound(
  { forward, plan, steps, options: given }: CalibrationWork,
  round: readonly PendingGroup[],
  openBlock: OpenBlock,
  { hasTargets, isLast }: RoundOptions,
): CalibratedGroups {
  const options = { ...given, hasTargets }, { windows, trueSequential } = options;
  const { block, replaced } = openBlock;
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
