/**
 * Trains the kept weights, the biases and the norms of one block, so that its outputs come near to given targets. All tokens count equally:
 * the loss is the mean over the tokens of ‖output − target‖²/‖target‖².
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { blockLoss } from "../../device/kernels/training/block_loss.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { BlockInputs } from "../batch_runner.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import { DeviceWeights } from "../device_weights.ts";
import { blockWeights, type ModelSpec } from "../families/family.ts";
import { normTensors, storedShape } from "../layer_specs.ts";
import { Tape } from "../pieces/tape.ts";
import { TapeWorkspace } from "../pieces/tape_workspace.ts";
import { Parameter } from "./parameter.ts";

/** A tensor of the checkpoint that is trained. */
interface TrainedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** The strips of the tensor, in order. */
  readonly parts: readonly Parameter[];
  /** The number that is added to each stored element on the device. */
  readonly offset: number;
}

/** The parameters of one block in f32, with gradients and the state of Adam. The caller destroys the trainer after use. */
export class BlockTrainer {
  readonly #backend: Backend;
  readonly #spec: ModelSpec;
  readonly #index: number;
  readonly #workspace: TapeWorkspace;
  readonly #owned = new ResourceSet();
  readonly #tensors: TrainedTensor[] = [];
  readonly #gradients = new Map<DeviceBuffer, DeviceBuffer>();
  #steps = 0;

  private constructor(
    backend: Backend,
    spec: ModelSpec,
    index: number,
    /** The current parameters. They can run forward passes. */
    readonly weights: DeviceWeights,
  ) {
    this.#backend = backend;
    this.#spec = spec;
    this.#index = index;
    this.#workspace = this.#owned.add(new TapeWorkspace(backend));
    this.#owned.add(weights);
  }

  /**
   * Loads block `index` from `source`. The biases of its linear layers and its norms are trained. The router of a mixture of experts, and
   * norms without stored weights, are not.
   * @param isTrained returns whether the weight of a linear layer is trained, by the name of the layer in the checkpoint, without
   * `.weight`. Its zeros stay zero
   * @throws {ModelError} if a tensor is missing, or does not have the shape or dtype of the model
   * @throws {OutOfDeviceMemoryError} if a buffer cannot be allocated
   */
  static async load(
    backend: Backend,
    spec: ModelSpec,
    index: number,
    source: TensorSource,
    isTrained: (name: string) => boolean,
  ): Promise<BlockTrainer> {
    const weights = await DeviceWeights.load(backend, source, blockWeights(spec.block(index), index));
    const trainer = new BlockTrainer(backend, spec, index, weights);
    try {
      trainer.#addParameters(isTrained);
    } catch (error) {
      trainer.destroy();
      throw error;
    }
    return trainer;
  }

  /**
   * Runs the block on `inputs` and adds the gradients of `share` times the loss to the gradients of earlier calls.
   * Resolves when the work is queued. For this, a mixture of experts waits until its routes are read back.
   * @param inputs the inputs of windows · tokens rows. The outputs overwrite the hidden states
   * @param targets (windows · tokens, hiddenSize) f32
   */
  async addGradients(
    { x: outputs, ...further }: BlockInputs,
    targets: DeviceBuffer,
    windows: number,
    tokens: number,
    share: number,
  ): Promise<void> {
    const { weights } = this, backend = this.#backend, workspace = this.#workspace, rows = windows * tokens;
    const { hiddenSize } = this.#spec, block = this.#spec.block(this.#index);
    const tape = new Tape(backend, workspace, (parameter) => this.#gradients.get(parameter));
    const pass = { backend, weights, workspace, tape, windows, tokens, rows, ...further };
    await block.forward(pass, outputs, this.#index);
    const buffers = {
      outputs,
      targets,
      gradient: tape.gradient(outputs),
      errors: workspace.buffer("errors", rows),
    };
    backend.dispatch(blockLoss, buffers, { rows, cols: hiddenSize, scale: share / rows });
    tape.backward();
    // The buffers of an expert differ in size between batches, so keeping the largest of every expert would take too much memory.
    if (block.traits.mixture === undefined) workspace.reuse();
    else workspace.destroy();
  }

  /** Queues one step of Adam, and clears the gradients. */
  update(learningRate: number): void {
    this.#steps++;
    for (const parameter of this.#parameters()) parameter.update(learningRate, this.#steps);
  }

  /** Remembers the current parameters. */
  remember(): void {
    for (const parameter of this.#parameters()) parameter.remember();
  }

  /** Goes back to the remembered parameters. The state of Adam does not change. @throws {TypeError} if none were remembered */
  restore(): void {
    for (const parameter of this.#parameters()) parameter.restore();
  }

  /** Reads the trained tensors in F32, by their names in the checkpoint and in its shapes. */
  async *tensors(): AsyncGenerator<readonly [name: string, tensor: HostTensor]> {
    for (const { name, shape, parts, offset } of this.#tensors) {
      const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
      const data = new Uint8Array(values.buffer);
      let at = 0;
      for (const { value } of parts) {
        data.set(await this.#backend.read(value, 0, value.byteLength), at);
        at += value.byteLength;
      }
      if (offset !== 0) values.forEach((value, i) => values[i] = value - offset);
      yield [name, { dtype: "F32", shape, data }];
    }
  }

  destroy(): void {
    this.#owned.destroy();
  }

  #parameters(): Parameter[] {
    return this.#tensors.flatMap(({ parts }) => parts);
  }

  #addParameters(isTrained: (name: string) => boolean): void {
    const block = this.#spec.block(this.#index), prefix = block.prefix(this.#index);
    for (const linear of block.groups.flat()) {
      const name = prefix + linear.name, { strips, bias } = this.weights.linear(linear);
      if (isTrained(name)) {
        this.#add(`${name}.weight`, storedShape(linear), strips.map(({ buffer }) => buffer), {
          keepsZeros: true,
        });
      }
      if (bias) this.#add(`${name}.bias`, [linear.outFeatures], [bias]);
    }
    for (const spec of block.norms) {
      const { weight, bias } = this.weights.norm(spec), { size, weightOffset: offset } = spec;
      const [weightName, biasName]: (string | undefined)[] = normTensors({
        ...spec,
        name: prefix + spec.name,
      });
      if (weightName !== undefined) this.#add(weightName, [size], [weight], { offset });
      if (biasName !== undefined) this.#add(biasName, [size], [bias!]);
    }
  }

  #add(
    name: string,
    shape: readonly number[],
    values: readonly DeviceBuffer[],
    { keepsZeros = false, offset = 0 }: { readonly keepsZeros?: boolean; readonly offset?: number } = {},
  ): void {
    const parts = values.map((value) => {
      const parameter = this.#owned.add(new Parameter(this.#backend, value, keepsZeros));
      this.#gradients.set(value, parameter.gradient);
      return parameter;
    });
    this.#tensors.push({ name, shape, parts, offset });
  }
}
