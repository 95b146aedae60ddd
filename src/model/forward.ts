/**
 * The forward pass of a model over many windows. All windows go through a block before the next block is loaded, so only the weights of one
 * block are on the device at a time.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { BatchRunner } from "./batch_runner.ts";
import { type Batch, commonLength } from "./batches.ts";
import type { BatchObserver, BlockObservers, ObserveOptions } from "./block_observers.ts";
import { DeviceWeights } from "./device_weights.ts";
import { blockWeights } from "./families/family.ts";
import {
  type BatchCallback,
  HiddenStates,
  type HiddenStatesStorage,
  type StatesObserver,
} from "./hidden_states/hidden_states.ts";
import { groupsWithoutReaders, type LinearGroup, stagesOf } from "./layer_specs.ts";
import { embedWindows, type InitialStates } from "./initial_states.ts";
import type { Model } from "./model.ts";
import type { BlockPass, InputObserver, ObservedResidual } from "./pieces/block_pass.ts";
import type { Routes } from "./pieces/routing.ts";
import type { TensorSource } from "./checkpoint/tensor_source.ts";
import { ForwardWorkspace } from "./forward_workspace.ts";
import { type ForwardDivision, HIDDEN_STATES_BYTES, planForward } from "./plan_forward.ts";

export interface ForwardOptions extends ForwardDivision {
  /**
   * The folder in which the hidden states are stored after every block. If the folder has the states of a killed forward pass over the same
   * windows, the forward pass resumes after the last block that was stored. By default, the states are only in memory.
   */
  readonly storage?: HiddenStatesStorage;
  /**
   * Whether a second stream of hidden states runs through the dense blocks (see `runDenseBlock`). It is stored in memory only, so in a
   * resumed forward pass it begins before the first block again. @default false
   */
  readonly hasDenseStream?: boolean;
  /** The states with which both streams begin. @default the embedded windows */
  readonly initial?: InitialStates;
}

/** A forward pass in progress. It has the hidden states after the blocks that have run. The caller destroys it at the end. */
export class Forward {
  readonly workspace: ForwardWorkspace;
  readonly runner: BatchRunner;

  private constructor(
    readonly backend: Backend,
    readonly model: Model,
    windows: readonly Uint32Array[],
    readonly tokens: number,
    readonly hiddenStates: HiddenStates,
    /** The hidden states of the dense model. Undefined without `hasDenseStream`. */
    readonly denseStates?: HiddenStates,
  ) {
    this.workspace = new ForwardWorkspace(backend);
    this.runner = new BatchRunner(backend, this.workspace, model, tokens, windows);
  }

  /**
   * Embeds `windows`, or loads their hidden states if the folder of `storage` has them. `hiddenStates.nextBlock` is the block to run next.
   * @param windows token ids. All windows have the same length. With `initial`, only their number and length matter, unless the model has
   * `tokenInputs`
   * @throws {RangeError} if there are no windows, if their lengths differ, or if they are too long
   * @throws {ModelError} if the weights do not fit the configuration, or if an id is not in the vocabulary
   */
  static async begin(
    backend: Backend,
    model: Model,
    windows: readonly Uint32Array[],
    { storage, hasDenseStream = false, initial, ...memory }: ForwardOptions = {},
  ): Promise<Forward> {
    const { spec } = model, { hiddenSize, sharedColumns } = spec;
    const tokens = commonLength(windows, spec.maxTokens);
    const { batches } = planForward(backend, spec, windows.length, tokens, memory);
    const deviceBytes = memory.hiddenStatesBytes ?? HIDDEN_STATES_BYTES;
    const sizes = { tokens, hiddenSize, sharedColumns, deviceBytes };
    const hiddenStates = new HiddenStates(backend, { ...sizes, batches, storage });
    const denseStates = hasDenseStream ? new HiddenStates(backend, { ...sizes, batches }) : undefined;
    const forward = new Forward(backend, model, windows, tokens, hiddenStates, denseStates);
    try {
      const lastBlock = await storage?.folder.lastBlock();
      if (lastBlock !== undefined) await hiddenStates.load(lastBlock);
      const empty = [lastBlock === undefined ? hiddenStates : undefined, denseStates]
        .filter((states) => states !== undefined);
      if (!initial) await embedWindows(backend, model, windows, empty);
      else for (const states of empty) await states.fill(initial.read, initial.block);
    } catch (error) {
      forward.destroy();
      throw error;
    }
    return forward;
  }

  /**
   * Runs block `index` on every window, and passes the inputs of its linear layers to `observeInput`. The stored hidden states do not
   * change. Groups of layers whose outputs no observed group needs are neither loaded nor computed. They are the last group of the block,
   * or in a mixture groups of its experts.
   */
  observeBlock(
    index: number,
    observeInput: BatchObserver,
    { beforeBatch, onBatchDone, source, dense, groups: wanted, routesToAll }: ObserveOptions = {},
  ): Promise<void> {
    const { spec, weights: denseSource } = this.model,
      block = spec.block(index),
      observed = source ?? denseSource;
    const { denseStates } = this, { advances = false } = dense ?? {};
    const skippedGroups = [
      ...stagesOf(block.groups).at(-1) ?? [],
      ...groupsWithoutReaders(block.groups, wanted),
    ];
    const groups = block.groups.filter((group) => !skippedGroups.includes(group));
    const run = (pass: BlockPass, states: DeviceBuffer, batch: Batch, observe: BatchObserver) => {
      const observeInput: InputObserver = (group, input, rows, residual) =>
        observe(group, input, rows, batch, residual);
      return this.runner.run(index, { skippedGroups, ...pass, observeInput, routesToAll }, states, batch);
    };
    if (!dense || !denseStates) {
      return this.#withBlock(
        index,
        observed,
        groups,
        (weights) =>
          this.hiddenStates.visit(async (states, batch) => {
            await beforeBatch?.(batch);
            return run(this.pass(weights, batch), states, batch, observeInput);
          }, onBatchDone),
      );
    }
    // The target of a layer outside of experts follows from its outputs.
    const needsOutput = (group: LinearGroup) => wanted?.has(group) && group[0].expertRole === undefined;
    const skippedByDense = advances ? [] : skippedGroups.filter((group) => !needsOutput(group));
    const visit = async (weights: DeviceWeights, denseWeights: DeviceWeights) => {
      const copies = this.hiddenStates.copies();
      const runBoth = async (states: DeviceBuffer, batch: Batch) => {
        await beforeBatch?.(batch);
        let routes: Routes | undefined;
        const pass = {
          ...this.pass(weights, batch),
          observeRoutes: (chosen: Routes) => void (routes = chosen),
        };
        await run(pass, (await copies.next()).value!, batch, observeInput);
        const densePass = {
          ...this.pass(denseWeights, batch),
          skippedGroups: skippedByDense,
          observeOutput: (group: LinearGroup, residual: ObservedResidual) =>
            dense.observeOutput(group, residual, batch),
        };
        await run({ ...densePass, routes }, states, batch, dense.observeInput);
      };
      try {
        await (advances ? denseStates.update(runBoth, onBatchDone) : denseStates.visit(runBoth, onBatchDone));
      } finally {
        await copies.return();
      }
    };
    return this.#withBlock(
      index,
      denseSource,
      block.groups.filter((group) => !skippedByDense.includes(group)),
      (denseWeights) =>
        observed === denseSource
          ? visit(denseWeights, denseWeights)
          : this.#withBlock(index, observed, groups, (weights) => visit(weights, denseWeights)),
    );
  }

  /** Runs the next block of the dense stream on every window. @param onBatchDone called after each batch */
  async runDenseBlock(onBatchDone?: (batch: Batch) => void): Promise<void> {
    const { denseStates, model: { weights } } = this;
    if (!denseStates) throw new TypeError("forward pass: has no dense stream");
    await this.#withWholeBlock(denseStates.nextBlock, weights, (run) => denseStates.update(run, onBatchDone));
  }

  /** Returns the outputs of the dense block `index` on the dense stream, or on the hidden states if there is none. Neither changes. */
  denseOutputs(index: number): Promise<HiddenStates> {
    const inputs = this.denseStates ?? this.hiddenStates;
    return this.#withWholeBlock(index, this.model.weights, (run) => inputs.changedCopy(run));
  }

  /**
   * Runs block `index` on every window. Its outputs replace the stored hidden states.
   * @param source the weights of the block
   */
  runBlock(
    index: number,
    onBatchDone?: (batch: Batch) => void,
    source: TensorSource = this.model.weights,
    { observer, ...observers }: BlockObservers = {},
  ): Promise<void> {
    const work = (run: BatchCallback) => this.hiddenStates.update(run, onBatchDone, observer);
    return this.#withWholeBlock(index, source, work, observers);
  }

  /**
   * Runs block `index` with the weights `source` on the batches from index `observer.from` on. The observer receives the outputs, which are
   * not stored.
   */
  visitOutputs(
    index: number,
    source: TensorSource,
    observer: StatesObserver,
  ): Promise<void> {
    return this.#withWholeBlock(index, source, (run) => this.hiddenStates.visitOutputs(run, observer));
  }

  /** Passes the outputs of the dense block `index` to the observer. The dense stream is before the block or after it, and does not change. */
  visitDenseOutputs(index: number, observer: StatesObserver): Promise<void> {
    const { denseStates, model: { weights } } = this;
    if (!denseStates) throw new TypeError("forward pass: has no dense stream");
    if (denseStates.nextBlock > index) return denseStates.visitOutputs(() => {}, observer);
    return this.#withWholeBlock(index, weights, (run) => denseStates.visitOutputs(run, observer));
  }

  /** Runs all blocks in order. Must be called before any block has run. */
  async runBlocks(onBatchDone?: (batch: Batch) => void): Promise<void> {
    for (let index = 0; index < this.model.spec.blockCount; index++) await this.runBlock(index, onBatchDone);
  }

  /** Returns the context in which the functions in `pieces/` run on `batch` with `weights`. */
  pass(weights: DeviceWeights, { count }: Batch): BlockPass {
    const { backend, workspace, tokens } = this;
    return { backend, weights, workspace, windows: count, tokens, rows: count * tokens };
  }

  /** Loads the weights of `groups` and of the norms of block `index`, calls `work`, and frees the weights. */
  async #withBlock<T>(
    index: number,
    source: TensorSource,
    groups: readonly LinearGroup[],
    work: (weights: DeviceWeights) => Promise<T>,
  ): Promise<T> {
    const spec = blockWeights(this.model.spec.block(index), index, groups), { streamsExperts } = this.model;
    const weights = await DeviceWeights.load(this.backend, source, { ...spec, streamsExperts });
    try {
      return await work(weights);
    } finally {
      weights.destroy();
    }
  }

  /** Calls `work` with the function that runs block `index` on a batch, with the weights `source`. */
  #withWholeBlock<T>(
    index: number,
    source: TensorSource,
    work: (run: BatchCallback) => Promise<T>,
    observers: Pick<BlockPass, "observeInput" | "observeExpert"> = {},
  ): Promise<T> {
    const block = this.model.spec.block(index);
    return this.#withBlock(
      index,
      source,
      block.groups,
      (weights) =>
        work((states, batch) =>
          this.runner.run(index, { ...this.pass(weights, batch), ...observers }, states, batch)
        ),
    );
  }

  /** Whether all states are the inputs of `block`. If a pass that changes them has failed, some may be its outputs. */
  isBefore(block: number): boolean {
    return [this.hiddenStates, this.denseStates ?? this.hiddenStates]
      .every(({ nextBlock, isPartlyChanged }) => nextBlock === block && !isPartlyChanged);
  }

  /** Frees the device memory of a running block, so that other work can use it until the next block runs. */
  freeActivations(): void {
    this.hiddenStates.freeScratch();
    this.denseStates?.freeScratch();
    this.workspace.destroy();
  }

  destroy(): void {
    this.hiddenStates.destroy();
    this.denseStates?.destroy();
    this.freeActivations();
  }
}
