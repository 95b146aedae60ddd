/**
 * The forward pass of a model over many windows, block by block. Only the weights of one block are on the device at a time, and all
 * windows pass through that block before the next one is loaded.
 */

import type { Backend } from "../backend/backend.ts";
import type { Batch } from "./batches.ts";
import { planBatches } from "./batches.ts";
import { DeviceWeights } from "./device_weights.ts";
import { Embedding } from "./embedding.ts";
import { HiddenStates, type StatesKeeping } from "./hidden_states/hidden_states.ts";
import type { LinearGroup } from "./families/layer_specs.ts";
import type { Model } from "./model.ts";
import type { BlockPass, Tap } from "./pieces/block_pass.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import { Workspace } from "./workspace.ts";

/** The device memory that a forward may use besides the weights of a block. */
export interface ForwardMemory {
  /** Bytes for the activations of one batch. Defaults to 256 MiB, because larger products are not faster. */
  readonly activationBytes?: number;
  /** Bytes for the hidden states of all windows. If they take more, they are stored in host memory or on disk. Defaults to 1 GiB. */
  readonly stateBytes?: number;
}

/** Options of a forward. */
export interface ForwardOptions extends ForwardMemory {
  /** Where the states are written after every block. If the folder has states of a forward that was killed, this one continues from them. */
  readonly keeping?: StatesKeeping;
}

const ACTIVATION_BYTES = 256 << 20;
const STATE_BYTES = 1 << 30;

/** A forward in progress: the hidden states after the blocks that have run. Destroy it at the end. */
export class Forward {
  readonly workspace: Workspace;

  private constructor(
    readonly backend: Backend,
    readonly model: Model,
    readonly tokens: number,
    readonly states: HiddenStates,
  ) {
    this.workspace = new Workspace(backend);
  }

  /**
   * Embeds `windows`, or loads their stored states. `states.block` is the block to run next.
   * @param windows token ids, all windows of one length
   * @throws {RangeError} if there are no windows, if they are unequal or too long, or if an id is not in the vocabulary
   * @throws {ModelError} if the weights do not fit the configuration
   */
  static async begin(
    backend: Backend,
    model: Model,
    windows: readonly Uint32Array[],
    { activationBytes = ACTIVATION_BYTES, stateBytes = STATE_BYTES, keeping }: ForwardOptions = {},
  ): Promise<Forward> {
    const { spec } = model;
    const tokens = commonLength(windows, spec.maxTokens);
    const { maxBufferBytes } = backend;
    const batches = planBatches(spec, windows.length, tokens, { maxBufferBytes, activationBytes });
    const { hiddenSize } = spec;
    const states = new HiddenStates(backend, {
      batches,
      tokens,
      hiddenSize,
      deviceBytes: stateBytes,
      keeping,
    });
    try {
      const kept = await keeping?.folder.lastBlock();
      if (kept === undefined) {
        const embedding = await Embedding.open(backend, model);
        await states.fill(({ first, count }) => embedding.gather(windows.slice(first, first + count)));
      } else await states.load(kept);
    } catch (error) {
      states.destroy();
      throw error;
    }
    return new Forward(backend, model, tokens, states);
  }

  /**
   * Runs block `index` with its weights from `source` on every window and passes the inputs of its linear layers to `tap`. The stored
   * states do not change. The products of the block's last layers are skipped, and their weights are not loaded.
   */
  observeBlock(
    index: number,
    tap: Tap,
    done?: (batch: Batch) => void,
    source: TensorSource = this.model.weights,
  ): Promise<void> {
    const { groups } = this.model.spec.block;
    const unused = groups.at(-1);
    return this.#withBlock(
      index,
      source,
      groups.slice(0, -1),
      (weights) =>
        this.states.visit((states, batch) => {
          this.model.spec.block.forward({ ...this.pass(weights, batch), tap, unused }, states, index);
        }, done),
    );
  }

  /** Runs block `index` with its weights from `source` on every window. The states are then the outputs of the block. */
  runBlock(
    index: number,
    done?: (batch: Batch) => void,
    source: TensorSource = this.model.weights,
  ): Promise<void> {
    return this.#withBlock(
      index,
      source,
      this.model.spec.block.groups,
      (weights) =>
        this.states.update((states, batch) => {
          this.model.spec.block.forward(this.pass(weights, batch), states, index);
        }, done),
    );
  }

  /** Runs all remaining blocks in order. */
  async runBlocks(done?: (batch: Batch) => void): Promise<void> {
    for (let index = 0; index < this.model.spec.blockCount; index++) await this.runBlock(index, done);
  }

  /** Returns the context in which the pieces run `batch`. */
  pass(weights: DeviceWeights, { count }: Batch): BlockPass {
    const { backend, workspace, tokens } = this;
    return { backend, weights, workspace, windows: count, tokens, rows: count * tokens };
  }

  async #withBlock(
    index: number,
    source: TensorSource,
    groups: readonly LinearGroup[],
    work: (weights: DeviceWeights) => Promise<void>,
  ): Promise<void> {
    const { block } = this.model.spec;
    const weights = await DeviceWeights.load(this.backend, source, {
      prefix: block.prefix(index),
      linears: groups.flat(),
      norms: block.norms,
    });
    try {
      await work(weights);
    } finally {
      weights.destroy();
    }
  }

  /** Frees the states and the activations. */
  destroy(): void {
    this.states.destroy();
    this.workspace.destroy();
  }
}

function commonLength(windows: readonly Uint32Array[], maxTokens: number): number {
  const tokens = windows[0]?.length ?? 0;
  if (tokens === 0) throw new RangeError("windows: there must be at least one window of at least one token");
  const other = windows.find((window) => window.length !== tokens);
  if (other) {
    throw new RangeError(`windows: all must have the same length, got ${tokens} and ${other.length} tokens`);
  }
  if (tokens > maxTokens) {
    throw new RangeError(`window of ${tokens} tokens: the model has positions for ${maxTokens}`);
  }
  return tokens;
}
