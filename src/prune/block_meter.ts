/** Measures the error of the output of a block against wanted outputs y: the mean over all tokens of ‖Δy‖²/‖y‖². */

import type { TensorSource } from "../model/checkpoint/tensor_source.ts";
import type { DeviceWeights } from "../model/device_weights.ts";
import type { Forward } from "../model/forward.ts";
import type { HiddenStates } from "../model/hidden_states/hidden_states.ts";
import { sumOfErrors } from "./block_error.ts";

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
   * @param fitted the number of fitted windows. Only the later windows are measured, or all if no window is held out
   * @param outputs the wanted outputs of all windows
   */
  static async open(
    forward: Forward,
    block: number,
    fitted: number,
    outputs: HiddenStates,
  ): Promise<BlockMeter> {
    const from = Math.max(0, outputs.batches.findIndex(({ first }) => first === fitted));
    const wanted: Float32Array[] = [];
    const observer = { from, take: (i: number, states: Float32Array) => void (wanted[i] = states) };
    await outputs.visitOutputs(() => {}, observer);
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

  async #mean(run: (observer: Parameters<Forward["visitOutputs"]>[2]) => Promise<void>): Promise<number> {
    const { hiddenSize } = this.forward.model.spec;
    let sum = 0, tokens = 0;
    await run({
      from: this.from,
      take: (i, outputs) => {
        sum += sumOfErrors(this.wanted[i], outputs, hiddenSize);
        tokens += outputs.length / hiddenSize;
      },
    });
    return sum / tokens;
  }
}
