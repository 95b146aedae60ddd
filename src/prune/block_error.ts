/**
 * Measures the error of the output of a pruned block on held-out windows. The dense block and the pruned block run on
 * the same inputs, the outputs of the pruned block before. All tokens count equally, so a few tokens with massive
 * activations do not hide the error of the others.
 */

import type { TensorSource } from "../model/checkpoint/tensor_source.ts";
import type { Forward } from "../model/forward.ts";
import type { StatesObserver } from "../model/hidden_states/hidden_states.ts";
import type { OpenBlock } from "./open_round.ts";

/** A block before it is pruned. */
type DenseBlock = Pick<OpenBlock, "block" | "weights">;

/** Receives the outputs of the pruned block, and compares them with those of the dense block. */
export class BlockError implements StatesObserver {
  readonly #dense: (Float32Array | undefined)[];
  readonly #hiddenSize: number;
  readonly #done: (error: number) => Promise<void>;
  #sum = 0;
  #tokens = 0;

  private constructor(
    /** The index of the first batch of held-out windows. */
    readonly from: number,
    dense: Float32Array[],
    hiddenSize: number,
    done: (error: number) => Promise<void>,
  ) {
    this.#dense = dense;
    this.#hiddenSize = hiddenSize;
    this.#done = done;
  }

  /**
   * Runs the dense block on the held-out windows. Its outputs stay in host memory until those of the pruned block are
   * compared with them.
   * @param from the index of the first batch of held-out windows
   * @param done receives the mean over all tokens of ‖y_pruned − y_dense‖²/‖y_dense‖² for outputs y of the block
   */
  static async begin(
    forward: Forward,
    { block, weights }: DenseBlock,
    from: number,
    done: (error: number) => Promise<void>,
  ): Promise<BlockError> {
    const dense: Float32Array[] = [];
    await forward.visitOutputs(block, weights, { from, take: (i, states) => void (dense[i] = states) });
    return new BlockError(from, dense, forward.model.spec.hiddenSize, done);
  }

  take(index: number, states: Float32Array): void {
    this.#sum += sumOfErrors(this.#dense[index]!, states, this.#hiddenSize);
    this.#tokens += states.length / this.#hiddenSize;
    this.#dense[index] = undefined;
  }

  end(): Promise<void> {
    return this.#done(this.#sum / this.#tokens);
  }
}

export interface PrunedPass {
  /** The number of windows before those that are held out. */
  readonly fitted: number;
  /** Whether the outputs of the block replace the states. */
  readonly advances: boolean;
  /** Receives the error of the output (see `BlockError`). Without it, no error is measured. There must be held-out windows. */
  readonly onError?: (error: number) => Promise<void>;
  /** Called after each batch whose outputs replace the states. */
  readonly onBatchDone?: () => void;
}

/** Runs the windows through a block with the weights `pruned`, and compares the outputs with those of the block `dense`. */
export async function runPrunedBlock(
  forward: Forward,
  dense: DenseBlock,
  pruned: TensorSource,
  { fitted, advances, onError, onBatchDone }: PrunedPass,
): Promise<void> {
  const firstHeldOut = forward.hiddenStates.batches.findIndex(({ first }) => first === fitted);
  const observer = onError && await BlockError.begin(forward, dense, firstHeldOut, onError);
  if (advances) return await forward.runBlock(dense.block, onBatchDone, pruned, { observer });
  if (!observer) return;
  await forward.visitOutputs(dense.block, pruned, observer);
  await observer.end();
}

/** Returns Σ ‖pruned_t − dense_t‖²/‖dense_t‖² over the tokens t, in float64. If dense_t is 0, the error is 0 or 1. */
export function sumOfErrors(dense: Float32Array, pruned: Float32Array, hiddenSize: number): number {
  let sum = 0;
  for (let token = 0; token < dense.length; token += hiddenSize) {
    let error = 0, norm = 0;
    for (let i = token; i < token + hiddenSize; i++) {
      error += (pruned[i] - dense[i]) ** 2;
      norm += dense[i] ** 2;
    }
    sum += norm > 0 ? error / norm : Math.sign(error);
  }
  return sum;
}
