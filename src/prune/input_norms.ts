/**
 * Computes the squared norms of the inputs of the linear layers of a model, which are the diagonals of their Hessians,
 * by one forward pass. The norms and the weights of only one block are in memory at a time.
 */

import { SquaredNorms } from "../layer/calibration/squared_norms.ts";
import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import { Forward } from "../model/forward.ts";
import type { HiddenStatesStorage } from "../model/hidden_states/hidden_states.ts";
import type { LinearGroup } from "../model/layer_specs.ts";
import type { Model } from "../model/model.ts";

export interface NormsOptions {
  /** Token ids of the windows, which all have the same length. */
  readonly windows: readonly Uint32Array[];
  /** The index of the last block whose norms are needed. */
  readonly lastBlock: number;
  /** Where the hidden states between blocks are stored. By default, in memory. */
  readonly hiddenStates?: HiddenStatesStorage;
  /** Called after each batch of windows in each block. `total` is the number of batches times the number of blocks. */
  readonly progress?: (done: number, total: number) => void;
  /** Ends the forward pass after the current batch. */
  readonly signal?: AbortSignal;
}

/** Maps each group of layers with the same input to the squared norms of this input: f32 with shape (inFeatures). */
export type BlockNorms = ReadonlyMap<LinearGroup, Float32Array>;

/**
 * Yields the norms of the blocks from 0 to `lastBlock`.
 * @throws {RangeError} if the windows are empty, of different lengths or too long for the model
 * @throws the signal's reason if the signal is aborted
 */
export async function* inputNorms(
  model: Model,
  backend: Backend,
  { windows, lastBlock, hiddenStates, progress, signal }: NormsOptions,
): AsyncGenerator<BlockNorms, void, undefined> {
  using scratch = new ResourceSet();
  const forward = scratch.add(await Forward.begin(backend, model, windows, { storage: hiddenStates }));
  const total = (lastBlock + 1) * forward.hiddenStates.batches.length;
  let done = 0;
  const onBatchDone = () => {
    signal?.throwIfAborted();
    progress?.(++done, total);
  };
  for (let block = 0; block <= lastBlock; block++) {
    yield await blockNorms(
      forward,
      block,
      (observe) =>
        block < lastBlock
          ? forward.runBlock(block, onBatchDone, model.weights, { observeInput: observe })
          : forward.observeBlock(block, observe, { onBatchDone }),
    );
  }
}

/** Calls `run`, which must run block `block` and pass each group's input to `observe`. Returns the norms of the inputs. */
async function blockNorms(
  { backend, model }: Forward,
  block: number,
  run: (observe: (group: LinearGroup, input: DeviceBuffer, rows: number) => void) => Promise<void>,
): Promise<BlockNorms> {
  using scratch = new ResourceSet();
  const sums = new Map<LinearGroup, SquaredNorms>();
  for (const group of model.spec.block(block).groups) {
    const [{ name, inFeatures }] = group;
    sums.set(group, scratch.add(new SquaredNorms(backend, `squared norms ${name}`, inFeatures)));
  }
  await run((group, input, rows) => sums.get(group)!.add(input, rows));
  const norms = new Map<LinearGroup, Float32Array>();
  for (const [group, sum] of sums) norms.set(group, await sum.read());
  return norms;
}
