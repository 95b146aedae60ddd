/**
 * The hidden states of a run in this process. All calibration windows run through a transformer block to add up the statistics of its
 * layers, and again through the pruned block to compute the inputs of the next block. README.md has the other passes. Passes that no
 * pending layer needs are left out.
 */

import type { ReconstructedBlock } from "../protocol/blocks/solved_block.ts";
import type { Backend } from "../device/backend.ts";
import { withReplacements } from "../model/checkpoint/tensor_source.ts";
import { Forward } from "../model/forward.ts";
import type { Model } from "../model/model.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { errorAgainstModel, runPrunedBlock } from "./block_meter.ts";
import { BlockPlan } from "./block_plan.ts";
import { StepCounter } from "./calibration_steps.ts";
import type { CollectedRound, OpenBlock } from "./open_block.ts";
import { reconstructBlock } from "./reconstruct_block.ts";
import { RoundStatistics } from "./round_statistics.ts";
import type { BlockStates, CalibrationOptions, Round } from "./steps.ts";
import { partSizes } from "./window_parts.ts";

export class LocalStates implements BlockStates {
  readonly plan: BlockPlan;
  readonly blocks: readonly number[];
  readonly #steps: StepCounter;

  private constructor(
    private readonly forward: Forward,
    private readonly options: CalibrationOptions,
    blocks: readonly number[],
    passes: number,
    plan: BlockPlan,
  ) {
    this.plan = plan;
    this.blocks = blocks;
    this.#steps = new StepCounter(passes, forward.hiddenStates.batches.length, options);
  }

  /**
   * Embeds the windows, or loads the hidden states of an earlier process. The caller destroys the states.
   * @throws {RangeError} if the windows are empty, of different lengths or too long for the model
   * @throws the signal's reason if the signal is aborted
   */
  static async begin(backend: Backend, model: Model, options: CalibrationOptions): Promise<LocalStates> {
    const { windows, validationWindows = [], memory, hiddenStates: storage, hasTargets } = options;
    const forward = await Forward.begin(backend, model, [...windows, ...validationWindows], {
      ...memory,
      storage,
      parts: partSizes(options),
      hasDenseStream: hasTargets,
    });
    try {
      const plan = new BlockPlan(model.spec, options), first = forward.hiddenStates.nextBlock;
      const { denseStates } = forward, passes = (denseStates ? first : 0) + plan.passes(first).length;
      const blocks = Array.from({ length: Math.max(0, plan.lastBlock + 1 - first) }, (_, i) => first + i);
      const states = new LocalStates(forward, options, blocks, passes, plan);
      while (denseStates && denseStates.nextBlock < first) await states.runDense();
      return states;
    } catch (error) {
      forward.destroy();
      throw error;
    }
  }

  /** Returns the states of a forward pass before `block`, for a run of this block alone. The caller destroys the pass. */
  static ofBlock(forward: Forward, block: number, options: CalibrationOptions): LocalStates {
    const plan = new BlockPlan(forward.model.spec, options);
    return new LocalStates(forward, options, [block], plan.passes(block).length, plan);
  }

  async open(block: number): Promise<OpenBlock> {
    const { plan, forward: { model: { weights } }, options } = this;
    return { block, weights, replaced: await readFinished(plan, block, options) };
  }

  async collect(open: OpenBlock, { groups, hasTargets, advancesDense }: Round): Promise<CollectedRound> {
    const { plan, forward, options } = this, { block, replaced } = open;
    const weights = withReplacements(open.weights, plan.seen(replaced));
    const statistics = await RoundStatistics.accumulate(
      forward,
      groups,
      block,
      weights,
      this.#steps.begin("observe"),
      { ...options, hasTargets, advancesDense },
    );
    return {
      group: ({ group }, layers) => ({ block, layers, ...statistics.of(group) }),
      destroy: () => statistics.destroy(),
    };
  }

  measure({ block, weights }: OpenBlock, solution: ReadonlyMap<string, HostTensor>): Promise<number> {
    const { forward, options: { windows } } = this;
    return errorAgainstModel(forward, block, withReplacements(weights, solution), windows.length);
  }

  runDense(): Promise<void> {
    return this.forward.runDenseBlock(this.#steps.begin("run"));
  }

  train(openBlock: OpenBlock, epochs: number): Promise<ReconstructedBlock> {
    const { forward, options: { windows, isTrained } } = this, begin = () => this.#steps.begin("train");
    return reconstructBlock({ forward, openBlock, epochs, fitted: windows.length, isTrained, begin });
  }

  advance(open: OpenBlock, measures: boolean): Promise<number | undefined> {
    const { plan, forward, options: { windows } } = this, { weights } = forward.model;
    return runPrunedBlock(forward, { ...open, weights }, withReplacements(weights, open.replaced), {
      fitted: windows.length,
      advances: plan.runs(open.block),
      measures,
      onBatchDone: this.#steps.begin("run"),
    });
  }

  store(): Promise<void> {
    return this.forward.hiddenStates.store();
  }

  destroy(): void {
    this.forward.destroy();
  }
}

/** Returns states of a run whose layers have no statistics, for magnitude pruning, which needs no forward pass. */
export function uncalibratedStates({ spec, weights }: Model, options: CalibrationOptions): BlockStates {
  const plan = new BlockPlan(spec, options);
  return {
    plan,
    blocks: Array.from({ length: plan.lastBlock + 1 }, (_, block) => block),
    open: (block) => Promise.resolve({ block, weights, replaced: new Map() }),
    collect: ({ block }) =>
      Promise.resolve({ group: (_pending, layers) => ({ block, layers }), destroy: () => {} }),
    measure: () => Promise.reject(new TypeError("a run without statistics decides nothing")),
    train: () => Promise.resolve(undefined),
    advance: () => Promise.resolve(undefined),
    destroy: () => {},
  };
}

/** Reads the tensors of a block that an earlier process has stored, by name. */
export async function readFinished(
  plan: BlockPlan,
  block: number,
  { readFinished, reconstructed }: CalibrationOptions,
): Promise<Map<string, HostTensor>> {
  const replaced = new Map<string, HostTensor>();
  if (!readFinished) return replaced;
  const names = new Set([...plan.finished(block), ...reconstructed?.get(block) ?? []]);
  for (const name of names) replaced.set(name, await readFinished(name));
  return replaced;
}
