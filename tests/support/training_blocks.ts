/** Small random blocks of every family, and the gradients that `BlockTrainer` computes for them. */

import { FAMILY_MODELS, LLAMA, type Settings, VOCABULARY } from "../../scripts/fixtures/family_models.ts";
import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import { adam } from "../../src/device/kernels/training/adam.ts";
import type { BlockInputs } from "../../src/model/batch_runner.ts";
import type { TensorSource } from "../../src/model/checkpoint/tensor_source.ts";
import type { ModelSpec } from "../../src/model/families/family.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { BlockTrainer } from "../../src/model/training/block_trainer.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { upload } from "./device.ts";
import { withOverrides } from "../../scripts/self_check/faults/with_dispatch.ts";
import { numbersOf, ReferenceBuffer } from "./reference_backend.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { blockShapes } from "./random_model.ts";
import { randomWeights, type Shapes } from "./random_weights.ts";

/** The windows of a batch, and the tokens of each. */
export const WINDOWS = 2, TOKENS = 7;

const OPT = {
  model_type: "opt",
  vocab_size: VOCABULARY,
  hidden_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  ffn_dim: 33,
  max_position_embeddings: 32,
};
const BLOOM = { model_type: "bloom", vocab_size: VOCABULARY, hidden_size: 21, n_layer: 2, n_head: 3 };
const ODD = { ...LLAMA, hidden_size: 24, intermediate_size: 37 };

/** Settings with other sizes than those of the fixtures, by title. */
const FURTHER: Readonly<Record<string, Settings>> = {
  "opt with norms before each half": OPT,
  "opt with norms after each half": { ...OPT, do_layer_norm_before: false, activation_function: "gelu" },
  "opt without biases and weights of norms": {
    ...OPT,
    enable_bias: false,
    layer_norm_elementwise_affine: false,
  },
  "bloom": BLOOM,
  "bloom with residuals after norms": { ...BLOOM, apply_residual_connection_post_layernorm: true },
  "llama": { ...ODD, model_type: "llama" },
  "mistral with a window": { ...ODD, model_type: "mistral", sliding_window: 3 },
  "qwen2": { ...ODD, model_type: "qwen2" },
  "qwen3": { ...ODD, model_type: "qwen3", head_dim: 10 },
  "phi3": { ...ODD, model_type: "phi3" },
};

/** Lists the settings of models of all families, by title. */
export function blockSettings(): (readonly [title: string, settings: Settings])[] {
  const families = Object.values(FAMILY_MODELS).flatMap(({ base, variants }) =>
    Object.entries(variants).map(([title, settings]) =>
      [`${base.model_type} ${title}`, { ...base, ...settings }] as const
    )
  );
  return [...Object.entries(FURTHER), ...families];
}

/** A block of a model, by the settings of the model. */
export interface TrainedBlock {
  readonly title: string;
  readonly settings: Settings;
  readonly index: number;
}

/** Lists the second block of the models of all families, and the first one too if it has linear attention. */
export function trainedBlocks(): TrainedBlock[] {
  return blockSettings().flatMap(([title, settings]) => {
    const { linear, mamba } = readModelSpec(settings, () => false).block(0).traits ?? {};
    const first = { title: `the first block of ${title}`, settings, index: 0 };
    return [{ title, settings, index: 1 }, ...linear ?? mamba ? [first] : []];
  });
}

/** A block with random weights, of which a third of the prunable ones is 0, and one batch. */
export interface TrainingBlock {
  readonly spec: ModelSpec;
  readonly index: number;
  readonly weights: TensorSource;
  /** (WINDOWS · TOKENS, hiddenSize) */
  readonly inputs: Float32Array<ArrayBuffer>;
  readonly targets: Float32Array<ArrayBuffer>;
  /** (WINDOWS · TOKENS, spec.tokenInputs.size). Random if absent. */
  readonly tokenInputs?: Float32Array<ArrayBuffer>;
}

export function trainingBlock(settings: Settings, index = 0): TrainingBlock {
  const spec = readModelSpec(settings, () => false), { hiddenSize } = spec, block = spec.block(index);
  const count = WINDOWS * TOKENS * hiddenSize;
  const inputs = normals(count, 71), noise = normals(count, 72);
  return {
    spec,
    index,
    weights: prunedWeights(blockShapes(block, index)),
    inputs,
    targets: inputs.map((x, i) => 2 * x + noise[i]),
  };
}

/** Returns random weights. A third of the entries of every matrix is 0. */
function prunedWeights(shapes: Shapes): TensorSource {
  const { source } = randomWeights(shapes);
  for (const [name, shape] of Object.entries(shapes)) {
    if (shape.length < 2) continue;
    const { data } = source.info(name) as unknown as { data: Uint8Array<ArrayBuffer> };
    const values = asFloat32(data);
    for (let i = 0; i < values.length; i += 3) values[i] = 0;
  }
  return source;
}

/** Creates the inputs of a block, with random shared keys and values if the model has any. */
export function uploadInputs(
  backend: Backend,
  { inputs, spec, tokenInputs: given }: Pick<TrainingBlock, "inputs" | "spec" | "tokenInputs">,
): BlockInputs & { destroy(): void } {
  const { tokenInputs: tokens, sharedColumns: ld = 0 } = spec, x = upload(backend, inputs);
  const random = (columns: number, seed: number) => normals(WINDOWS * TOKENS * columns, seed);
  const tokenInputs = tokens && upload(backend, given ?? random(tokens.size, 73));
  const buffer = ld > 0 ? upload(backend, random(ld, 74)) : undefined;
  return {
    x,
    tokenInputs,
    sharedKeys: buffer && { buffer, offset: 0, ld },
    destroy() {
      for (const one of [x, tokenInputs, buffer]) one?.destroy();
    },
  };
}

/** Adds the gradients of a block's batch to those of `trainer`. */
export async function addGradients(
  backend: Backend,
  trainer: BlockTrainer,
  block: TrainingBlock,
  share = 1,
): Promise<void> {
  const inputs = uploadInputs(backend, block), targets = upload(backend, block.targets);
  await trainer.addGradients(inputs, targets, WINDOWS, TOKENS, share);
  for (const one of [inputs, targets]) one.destroy();
}

/** Returns the gradients of all trained tensors by their names. They are in float64 if the backend is. */
export async function blockGradients(
  backend: Backend,
  block: TrainingBlock,
  shares: readonly number[] = [1],
): Promise<Map<string, ArrayLike<number>>> {
  const found: [string, ArrayLike<number> | Promise<ArrayLike<number>>][] = [];
  const spied = withOverrides(backend, {
    dispatch(kernel, buffers, params) {
      if (kernel.name === adam.name) {
        const { gradient, weight } = buffers as unknown as Record<string, DeviceBuffer>;
        const values = gradient instanceof ReferenceBuffer
          ? numbersOf(gradient).slice()
          : backend.read(gradient, 0, gradient.byteLength).then(asFloat32);
        found.push([weight.label, values]);
      }
      backend.dispatch(kernel, buffers, params);
    },
  });
  const trainer = await BlockTrainer.load(spied, block.spec, block.index, block.weights, () => true);
  for (const share of shares) await addGradients(backend, trainer, block, share);
  trainer.update(0);
  const gradients = new Map<string, ArrayLike<number>>();
  for (const [name, values] of found) gradients.set(name, await values);
  trainer.destroy();
  return gradients;
}
