/**
 * Presents a model as a source of layers with calibration statistics. Each transformer block is processed as in the SparseGPT paper. First,
 * a forward pass of all calibration windows through the dense block accumulates the Hessian of each layer's input. Then the layers are
 * yielded, and the consumer prunes and replaces them. Finally, a second forward pass through the pruned block computes the inputs of the
 * next block. Passes that no pending layer needs are left out.
 */

import type { Backend } from "../device/backend.ts";
import { HessianAccumulator, type TokenWeights } from "../layer/calibration/hessian.ts";
import { type TensorSource, withReplacements } from "../model/checkpoint/tensor_source.ts";
import type { LayerGroup, ModelSource } from "../client/model_source.ts";
import type { LinearGroup } from "../model/layer_specs.ts";
import { Forward } from "../model/forward.ts";
import type { ForwardMemory } from "../model/plan_forward.ts";
import type { HiddenStatesStorage } from "../model/hidden_states/hidden_states.ts";
import type { Model } from "../model/model.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { TargetStatistics } from "../layer/calibration/target_statistics.ts";
import { BlockError } from "./block_error.ts";
import { reconstructBlock, type ReconstructedBlock } from "./reconstruct_block.ts";
import { BlockPlan, type NameSet, type PendingGroup, type PlanOptions } from "./block_plan.ts";
import { type CalibrationStep, StepCounter } from "./calibration_steps.ts";
import { type GroupStatistics, type OnReplace, type OpenBlock, openRound } from "./open_round.ts";

export type CalibratedModel = ModelSource<HessianAccumulator>;

/** Returns how much each token counts in the statistics of the layer `name`. Layers with the same input share their statistics. */
export type TokenWeightsOf = (name: string) => TokenWeights | undefined;

export interface CalibrationOptions extends PlanOptions {
  /** Token ids of the windows, which all have the same length. */
  readonly windows: readonly Uint32Array[];
  /** Token ids of the held-out windows, as long as the others. Only the validation Hessians sum over them. @default [] */
  readonly validationWindows?: readonly Uint32Array[];
  /** Called with each pruned weight, converted to the dtype of the checkpoint, for example to write it to a file. */
  readonly onReplace?: OnReplace;
  /**
   * Called after each block with pruned layers, with the error of its output on the held-out windows (see `BlockError`). Not called without
   * held-out windows.
   */
  readonly onBlock?: (block: number, error: number) => Promise<void>;
  /** Called after each reconstruction, for example to write its tensors to files. */
  readonly onReconstruct?: (block: number, reconstructed: ReconstructedBlock) => Promise<void>;
  /** The names of the trained tensors of the blocks that an earlier run has reconstructed. `finished` reads them. */
  readonly reconstructed?: ReadonlyMap<number, readonly string[]>;
  readonly finished?: FinishedLayers;
  /**
   * Where the hidden states between blocks are stored. If a folder is given, a run that was killed resumes from the last block whose hidden
   * states are in the folder. The same run must have pruned the layers in `finished`.
   */
  readonly hiddenStates?: HiddenStatesStorage;
  readonly progress?: (step: CalibrationStep) => void;
  /** @default "none" for all layers */
  readonly tokenWeightsOf?: TokenWeightsOf;
  readonly memory?: ForwardMemory;
  /** Ends the calibration after the current batch. */
  readonly signal?: AbortSignal;
}

export interface FinishedLayers extends NameSet {
  /** Reads a pruned weight or a trained tensor, with the dtype and the bytes that `onReplace` was called with. */
  read(name: string): Promise<HostTensor>;
}

/**
 * Returns `model` as a source of calibrated layers. Whoever receives a group may take its Hessian or destroy it. The
 * rest is destroyed at the end of the round. The generator of its `groups` throws
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
): AsyncGenerator<LayerGroup<HessianAccumulator>, void, undefined> {
  if (plan.isEmpty) return;
  const { windows, validationWindows = [], memory, hiddenStates, onReplace, onBlock, trueSequential } =
    options;
  const { reconstructed, onReconstruct } = options;
  const all = [...windows, ...validationWindows];
  const forward = await Forward.begin(backend, model, all, {
    ...memory,
    storage: hiddenStates,
    boundary: windows.length,
    hasDenseStream: options.hasTargets,
  });
  try {
    const firstBlock = forward.hiddenStates.nextBlock, { batches } = forward.hiddenStates;
    const firstHeldOut = batches.findIndex(({ first }) => first === windows.length);
    const steps = new StepCounter(plan.passes(firstBlock).length, batches.length, options);
    for (let block = firstBlock; block <= plan.lastBlock; block++) {
      const trained = reconstructed?.get(block) ?? [], epochs = plan.epochs(block);
      const replaced = await readFinished(new Set([...plan.finished(block), ...trained]), options);
      const prunedWeights = withReplacements(model.weights, replaced);
      const openBlock = { block, weights: model.weights, replaced, onReplace };
      const calibrationWeights = trueSequential ? prunedWeights : model.weights;
      for (const round of plan.rounds(block)) {
        yield* calibrateRound(forward, round, openBlock, calibrationWeights, steps, options);
      }
      if (plan.runsDense(block)) await forward.runDenseBlock(steps.begin("run"));
      if (epochs > 0) {
        const begin = () => steps.begin("train");
        const task = { forward, openBlock, epochs, fitted: windows.length, begin };
        await onReconstruct?.(block, await reconstructBlock(task));
      }
      const isMeasured = onBlock && validationWindows.length > 0 && replaced.size > 0;
      const error = isMeasured
        ? await BlockError.begin(forward, openBlock, firstHeldOut, (error) => onBlock(block, error))
        : undefined;
      // No block follows the last one, so only its held-out outputs are needed.
      if (block < plan.lastBlock) {
        await forward.runBlock(block, steps.begin("run"), prunedWeights, { observer: error });
      } else if (error) {
        await forward.visitOutputs(block, prunedWeights, error);
        await error.end();
      }
    }
  } finally {
    forward.destroy();
  }
}

/** Calibrates the groups of a round by one forward pass through the block with `weights`, then yields the groups in order. */
async function* calibrateRound(
  forward: Forward,
  round: readonly PendingGroup[],
  openBlock: OpenBlock,
  weights: TensorSource,
  steps: StepCounter,
  options: CalibrationOptions,
): AsyncGenerator<LayerGroup<HessianAccumulator>, void, undefined> {
  const sums = await accumulateHessians(forward, round, openBlock.block, weights, steps, options);
  try {
    // `accumulateHessians` made the sums of each group.
    yield* openRound(round, openBlock, (group) => statisticsOf(group, sums.get(group)!));
  } finally {
    destroySums(sums);
  }
}

/** The sums over the inputs of a group: those that are fitted, and those that are held out. */
interface GroupSums {
  readonly fitted: HessianAccumulator;
  /** Undefined without held-out windows. */
  readonly heldOut?: HessianAccumulator;
}

function destroySums(sums: ReadonlyMap<LinearGroup, GroupSums>): void {
  for (const { fitted, heldOut } of sums.values()) {
    fitted.destroy();
    heldOut?.destroy();
  }
}

/**
 * Returns the statistics of a group. If no token was routed to an expert, its Hessian would be 0, with which a solver
 * would set all weights to 0. The identity takes its place, with which every solver prunes by magnitude. If no held-out token was routed
 * to an expert, it has no validation Hessian.
 */
function statisticsOf([{ expertRole }]: LinearGroup, { fitted, heldOut }: GroupSums): GroupStatistics {
  if (expertRole === undefined) return { hessian: fitted, validationHessian: heldOut };
  if (fitted.tokens === 0) fitted.setIdentity();
  const validationHessian = heldOut?.tokens === 0 ? undefined : heldOut;
  return { tokens: fitted.tokens, hessian: fitted, validationHessian };
}

/** Computes the sums of each group of a round. The caller must destroy them. */
async function accumulateHessians(
  forward: Forward,
  round: readonly PendingGroup[],
  block: number,
  weights: TensorSource,
  steps: StepCounter,
  { windows, validationWindows = [], tokenWeightsOf, hasTargets = false }: CalibrationOptions,
): Promise<Map<LinearGroup, GroupSums>> {
  const sums = new Map<LinearGroup, GroupSums>();
  try {
    for (const { group } of round) {
      const tokenWeights = groupTokenWeights(group, tokenWeightsOf), [{ name, inFeatures }] = group;
      const accumulator = () =>
        hasTargets
          ? new TargetStatistics(forward.backend, group[0], undefined, tokenWeights)
          : new HessianAccumulator(forward.backend, `hessian ${name}`, inFeatures, undefined, {
            tokenWeights,
          });
      const fitted = accumulator();
      sums.set(group, { fitted });
      if (validationWindows.length > 0) sums.set(group, { fitted, heldOut: accumulator() });
    }
    const sumOf = (group: LinearGroup, firstWindow: number) =>
      sums.get(group)?.[firstWindow >= windows.length ? "heldOut" : "fitted"];
    await forward.observeBlock(
      block,
      (group, x, rows, { first }, residual) => sumOf(group, first)?.add(x, rows, residual),
      steps.begin("observe"),
      weights,
      hasTargets
        ? (group, x, rows, { first }, residual) => sumOf(group, first)?.addDense(x, rows, residual)
        : undefined,
    );
    // The layers are solved next, and a solve can use this memory.
    forward.freeActivations();
  } catch (error) {
    destroySums(sums);
    throw error;
  }
  return sums;
}

/** @throws {RangeError} if the layers of the group, which share their statistics, ask for different weights */
function groupTokenWeights(group: LinearGroup, tokenWeightsOf?: TokenWeightsOf): TokenWeights | undefined {
  const [first, ...others] = group.map(({ name }) => ({ name, weights: tokenWeightsOf?.(name) ?? "none" }));
  const other = others.find(({ weights }) => weights !== first.weights);
  if (!other) return first.weights;
  throw new RangeError(
    `token_weights: ${first.name} has ${first.weights} and ${other.name} has ${other.weights}, but both layers have the same inputs`,
  );
}

/** Reads the weights of `names` that an earlier run has pruned. */
async function readFinished(
  names: Iterable<string>,
  { finished }: CalibrationOptions,
): Promise<Map<string, HostTensor>> {
  const replaced = new Map<string, HostTensor>();
  if (finished) { for (const name of names) replaced.set(name, await finished.read(name)); }
  return replaced;
}
