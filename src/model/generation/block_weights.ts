/**
 * The weights of all blocks of a model, for passes that run every block for a few tokens. A block is loaded when it first runs, and then
 * stays on the device. If the device has too little memory for all blocks, the last ones are loaded again for each pass.
 */

import { type Backend, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { DeviceWeights } from "../device_weights.ts";
import { blockWeights } from "../families/family.ts";
import type { Model } from "../model.ts";

export class BlockWeights {
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #resident: DeviceWeights[] = [];
  /** The weights of the last block that was loaded for one pass only. */
  #passing: DeviceWeights | undefined;
  #isFull = false;

  constructor(backend: Backend, model: Model) {
    this.#backend = backend;
    this.#model = model;
  }

  /**
   * Returns the weights of a block. They are valid until the next call. The first pass must ask for all blocks in order.
   * @throws {OutOfDeviceMemoryError} if the device has too little memory for a single block
   * @throws the errors of `DeviceWeights.load`
   */
  async load(index: number): Promise<DeviceWeights> {
    if (index < this.#resident.length) return this.#resident[index];
    this.#passing?.destroy();
    this.#passing = undefined;
    while (!this.#isFull) {
      try {
        const weights = await this.#read(index);
        this.#resident.push(weights);
        return weights;
      } catch (error) {
        const last = error instanceof OutOfDeviceMemoryError ? this.#resident.pop() : undefined;
        if (!last) throw error;
        // The memory of this block is the room for the blocks that are loaded for one pass.
        last.destroy();
        this.#isFull = true;
      }
    }
    return this.#passing = await this.#read(index);
  }

  async #read(index: number): Promise<DeviceWeights> {
    const { spec, weights: source } = this.#model, block = spec.block(index);
    const weights = await DeviceWeights.load(this.#backend, source, blockWeights(block, index));
    try {
      await this.#backend.finish(); // Some backends report only here that an allocation failed.
    } catch (error) {
      weights.destroy();
      throw error;
    }
    return weights;
  }

  destroy(): void {
    for (const weights of this.#resident) weights.destroy();
    this.#passing?.destroy();
  }
}
