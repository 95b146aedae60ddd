/** Trains the kept weights, the biases and the norms of one block, so that its outputs come near to given targets. */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import type { DeviceWeights } from "../device_weights.ts";
import type { ModelSpec } from "../families/family.ts";

export class BlockTrainer {
  private constructor(readonly weights: DeviceWeights) {}

  static load(
    _backend: Backend,
    _spec: ModelSpec,
    _index: number,
    _source: TensorSource,
    _isTrained: (name: string) => boolean,
  ): Promise<BlockTrainer> {
    throw new Error("BlockTrainer.load: is not written yet");
  }

  addGradients(
    _inputs: DeviceBuffer,
    _targets: DeviceBuffer,
    _windows: number,
    _tokens: number,
    _share: number,
  ): Promise<void> {
    throw new Error("BlockTrainer.addGradients: is not written yet");
  }

  update(_learningRate: number): void {
    throw new Error("BlockTrainer.update: is not written yet");
  }

  remember(): void {
    throw new Error("BlockTrainer.remember: is not written yet");
  }

  restore(): void {
    throw new Error("BlockTrainer.restore: is not written yet");
  }

  tensors(): AsyncGenerator<readonly [name: string, tensor: HostTensor]> {
    throw new Error("BlockTrainer.tensors: is not written yet");
  }

  static deviceBytes(_spec: ModelSpec, _windows: number, _tokens: number): number {
    throw new Error("BlockTrainer.deviceBytes: is not written yet");
  }

  destroy(): void {
    throw new Error("BlockTrainer.destroy: is not written yet");
  }
}
