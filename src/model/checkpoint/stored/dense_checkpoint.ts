/**
 * Opens a checkpoint that stores quantised weights as the checkpoint that it would be if its weights were dense. This is the one
 * place in which the tensors and the configuration of the dense checkpoint are listed.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import type { TensorSpec } from "../../../tensor/safetensors/encode.ts";
import { Checkpoint } from "../checkpoint.ts";
import { makeDenseConfig, PACK_QUANTIZED, QUANTIZATION_KEY } from "../quantized/config.ts";
import type { QuantizedParts } from "../quantized/quantized_parts.ts";
import type { TensorSource } from "../tensor_source.ts";
import { splitExperts } from "../fused_experts.ts";
import type { Shard } from "../weight_files.ts";
import { layOut } from "../write/write_plan.ts";
import { DequantizedSource } from "./dequantized_source.ts";
import { storedFormat, weightFormat } from "./formats.ts";
import type { StoredFormat, StoredWeight } from "./stored_format.ts";

/** Files in which older programs describe the quantisation a second time. */
const DESCRIPTIONS = ["quantize_config.json", "quant_config.json"];

/** A view of a checkpoint with dense weights. Its shards have the names of the files of the stored ones. */
class DenseCheckpoint extends Checkpoint {
  readonly #tensors: TensorSource;

  constructor(
    readonly stored: Checkpoint,
    readonly storedWeights: ReadonlyMap<string, StoredWeight>,
    shards: readonly Shard[],
  ) {
    const files = stored.files.filter((name) => !DESCRIPTIONS.includes(name));
    super(stored.folder, files, makeDenseConfig(stored.config), { shards });
    this.#tensors = new DequantizedSource(stored, stored.folder, storedWeights);
  }

  override get storedConfig(): Checkpoint["config"] {
    return this.stored.config;
  }

  override read(name: string, byteOffset: number, byteLength: number): ReturnType<Checkpoint["read"]> {
    const { shard, info } = this.locate(name), whole = shard.fused?.get(name);
    if (!whole || !this.storedWeights.has(whole.name)) {
      return this.#tensors.read(name, byteOffset, byteLength);
    }
    return this.#tensors.read(whole.name, info.begin - whole.begin + byteOffset, byteLength);
  }
}

/**
 * Returns the view of a checkpoint with dense weights, or the checkpoint itself if its weights are dense. The checkpoint must stay
 * open while the view is used.
 * @throws {ModelError} if config.json names a format that is not supported, if a tensor of a weight is missing, or if two tensors
 * of a weight contradict each other
 */
export async function openDense(checkpoint: Checkpoint): Promise<Checkpoint> {
  const format = storedFormat(checkpoint);
  if (!format || checkpoint instanceof DenseCheckpoint) return checkpoint;
  const description = checkpoint.config[QUANTIZATION_KEY] as Record<string, unknown>;
  const weights = await format.find(checkpoint, description);
  for (const { name, tensors } of weights) {
    if (!checkpoint.has(name) || tensors.includes(name)) continue;
    throw new ModelError(`${checkpoint.folder}: holds ${name} both dense and quantised`);
  }
  const shards = denseShards(checkpoint, weights, format);
  return new DenseCheckpoint(checkpoint, new Map(weights.map((weight) => [weight.name, weight])), shards);
}

/** Lists the dense tensors of each file. A weight is in the file of its codes. */
function denseShards(
  checkpoint: Checkpoint,
  weights: readonly StoredWeight[],
  { leftOut }: StoredFormat,
): Shard[] {
  const byCodes = new Map(weights.map((weight) => [weight.tensors[0], weight]));
  const parts = new Set(weights.flatMap(({ tensors }) => tensors));
  return splitExperts(checkpoint.shards.map((shard) => {
    const specs = shard.header.tensors.flatMap((info): TensorSpec[] => {
      const weight = byCodes.get(info.name);
      if (weight) return [{ name: weight.name, dtype: weight.dtype, shape: weight.shape }];
      return parts.has(info.name) || leftOut?.test(info.name) ? [] : [info];
    });
    const position: Shard["position"] = ({ name }) => shard.position(checkpoint.info(name));
    return { ...layOut(shard, specs), file: shard.file, position };
  }));
}

/** The stored tensors of a weight in the layout `pack-quantized`. */
export interface PackedTensors {
  readonly source: TensorSource;
  readonly parts: QuantizedParts;
}

/** Returns the tensors that store the codes of a weight. Undefined if the checkpoint has no codes in the layout `pack-quantized`. */
export function packedTensors(weights: TensorSource, name: string): PackedTensors | undefined {
  if (!(weights instanceof DenseCheckpoint)) return undefined;
  const parts = weights.storedWeights.get(name)?.packed;
  return parts && { source: weights.stored, parts };
}

/** Whether weights are those of a checkpoint in the layout `pack-quantized`. */
export function isPacked(weights: TensorSource): boolean {
  return weights instanceof DenseCheckpoint && weightFormat(weights) === PACK_QUANTIZED;
}
