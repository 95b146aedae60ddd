/**
 * Measures the error of the output of a block against wanted outputs y: the mean over all tokens of ‖Δy‖²/‖y‖². All tokens count equally,
 * so a few tokens with massive activations do not hide the error of the others.
 */

import type { TensorSource } from "../model/checkpoint/tensor_source.ts";
import type { DeviceWeights } from "../model/device_weights.ts";
import type { Forward } from "../model/forward.ts";
import type { OpenBlock } from "./open_block.ts";

/** Receives the outputs of a block, (rows, hiddenSize) f32, batch by batch. */
type OutputObserver = Parameters<Forward["visitOutputs"]>[2];

/** The wanted outputs of one block for some windows, in host memory. */
export class BlockMeter {
  private constructor(
    readonly forward: Forward,
    readonly block: number,
    /** The index of the first batch of the windows. */
    readonly from: number,
    readonly wanted: readonly Float32Array[],
  ) {}

  /**
   * Copies the wanted outputs to host memory.
   * @param forward a forward pass before the block
   * @param fitted the number of fitted windows. Only the later windows are measured, or all windows if none is held out
   * @param visit passes the wanted outputs of all windows to the observer
   */
  static async open(
    forward: Forward,
    block: number,
    fitted: number,
    visit: (observer: OutputObserver) => Promise<void>,
  ): Promise<BlockMeter> {
    const from = Math.max(0, forward.hiddenStates.batches.findIndex(({ first }) => first === fitted));
    const wanted: Float32Array[] = [];
    await visit({ from, take: (i, states) => void (wanted[i] = states) });
    return new BlockMeter(forward, block, from, wanted);
  }

  /** Returns the error with weights that are on the device. */
  measure(weights: DeviceWeights): Promise<number> {
    const { forward, block } = this;
    return this.#mean((observer) =>
      forward.hiddenStates.visitOutputs(
        (states, batch) => forward.runner.run(block, forward.pass(weights, batch), states, batch),
        observer,
      )
    );
  }

  /** Returns the error with the weights of a checkpoint. */
  measureStored(weights: TensorSource): Promise<number> {
    return this.#mean((observer) => this.forward.visitOutputs(this.block, weights, observer));
  }

  async #mean(run: (observer: OutputObserver) => Promise<void>): Promise<number> {
    const measured = this.begin();
    await run(measured);
    return measured.error();
  }

  /** Begins a measurement of outputs that the caller computes. */
  begin(): OutputObserver & { error(): number } {
    const { hiddenSize } = this.forward.model.spec;
    let sum = 0, tokens = 0;
    return {
      from: this.from,
      take: (i, outputs) => {
        sum += sumOfErrors(this.wanted[i], outputs, hiddenSize);
        tokens += outputs.length / hiddenSize;
      },
      error: () => sum / tokens,
    };
  }
}

/**
 * Returns the error of the output of a pruned block on the held-out windows, compared with the output of the block in the dense model.
 * @param forward a forward pass before the block, with a dense stream before or after the block
 * @param fitted the number of fitted windows. At least one window follows them, and is held out
 */
export async function errorAgainstModel(
  forward: Forward,
  block: number,
  pruned: TensorSource,
  fitted: number,
): Promise<number> {
  const visitDense = (observer: OutputObserver) => forward.visitDenseOutputs(block, observer);
  const meter = await BlockMeter.open(forward, block, fitted, visitDense);
  const error = await meter.measureStored(pruned);
  forward.freeActivations();
  return error;
}

export interface PrunedPass {
  /** The number of fitted windows, which come before the held-out windows. */
  readonly fitted: number;
  /** Whether the outputs of the block replace the states. */
  readonly advances: boolean;
  /** Whether the error of the output is measured, which needs held-out windows. */
  readonly measures: boolean;
  /** Called after each batch whose outputs replace the states. */
  readonly onBatchDone?: () => void;
}

/**
 * Runs the windows through a block with the weights `pruned`, and compares the outputs with the outputs of the block with its dense `weights` on
 * the same inputs. If an error is measured, the caller must store the outputs with `HiddenStates.store`.
 * @returns the error, if it is measured
 */
export async function runPrunedBlock(
  forward: Forward,
  { block, weights }: Pick<OpenBlock, "block" | "weights">,
  pruned: TensorSource,
  { fitted, advances, measures, onBatchDone }: PrunedPass,
): Promise<number | undefined> {
  const visitDense = (observer: OutputObserver) => forward.visitOutputs(block, weights, observer);
  const meter = measures ? await BlockMeter.open(forward, block, fitted, visitDense) : undefined;
  if (!advances) return await meter?.measureStored(pruned);
  const observer = meter?.begin();
  await forward.runBlock(block, onBatchDone, pruned, { observer });
  return observer?.error();
}

/** Returns Σ ‖pruned_t − dense_t‖²/‖dense_t‖² over the tokens t, in float64. If dense_t is 0, the error is 0 or 1. */
function sumOfErrors(dense: Float32Array, pruned: Float32Array, hiddenSize: number): number {
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
