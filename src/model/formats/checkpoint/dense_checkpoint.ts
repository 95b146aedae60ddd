/**
 * Presents a checkpoint with quantised weights as a checkpoint with dense weights. This is the one place in which the tensors and
 * the configuration of the dense checkpoint are listed.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import type { TensorSpec } from "../../../tensor/safetensors/encode.ts";
import { isScannable } from "../../checkpoint/inspect/tensor_scan.ts";
import { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { makeDenseConfig, quantizationOf } from "../config/quantization_config.ts";
import type { TensorSource } from "../../checkpoint/tensor_source.ts";
import { splitExperts } from "../../checkpoint/fused_experts.ts";
import type { Shard } from "../../checkpoint/weight_files.ts";
import { layOut } from "../../checkpoint/write/write_plan.ts";
import { DequantizedSource } from "./dequantized_source.ts";
import type { CodedWeight, Format, RowGrids, StoredWeight, WeightCodes } from "../format.ts";
import { storedFormat } from "../formats.ts";

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
    const { shard, info } = this.locate(name), whole = shard.wholeTensors?.get(name);
    if (!whole || !this.storedWeights.has(whole.name)) {
      return this.#tensors.read(name, byteOffset, byteLength);
    }
    return this.#tensors.read(whole.name, info.begin - whole.begin + byteOffset, byteLength);
  }
}

/**
 * Returns the view of a checkpoint with dense weights, or the checkpoint itself if its weights are dense. The checkpoint must stay
 * open while the view is used.
 * @throws {ModelError} if config.json names a format that is not supported, or a format in which no weight is stored, if a tensor of
 * a weight is missing, if two tensors of a weight contradict each other, or if codes belong to no weight
 */
export async function openDense(checkpoint: Checkpoint): Promise<Checkpoint> {
  if (checkpoint instanceof DenseCheckpoint) return checkpoint;
  const format = storedFormat(checkpoint);
  if (!format.find) {
    requireFloats(checkpoint, checkpoint, "config.json does not name their format");
    return checkpoint;
  }
  const weights = await format.find(checkpoint, quantizationOf(checkpoint.config) as Record<string, unknown>);
  for (const { name, tensors } of weights) {
    if (!checkpoint.has(name) || tensors.includes(name)) continue;
    throw new ModelError(`${checkpoint.folder}: holds ${name} both dense and quantised`);
  }
  const shards = denseShards(checkpoint, weights, format);
  requireFloats(checkpoint, { shards }, `the format ${format.name} has no scales for them`);
  if (weights.length === 0) {
    throw new ModelError(
      `${checkpoint.folder}: config.json names the format ${format.name}, but no weight is stored in it`,
    );
  }
  return new DenseCheckpoint(checkpoint, new Map(weights.map((weight) => [weight.name, weight])), shards);
}

/**
 * Refuses tensors that must be codes. Without this check, they would be written as weights, or would not be scanned.
 * @param shards the tensors that are not dequantised
 * @param reason why the codes cannot be dequantised, as the end of a sentence
 * @throws {ModelError} naming a tensor in FP8, or a weight that is not in floating point
 */
function requireFloats(
  { folder }: Checkpoint,
  { shards }: Pick<Checkpoint, "shards">,
  reason: string,
): void {
  for (const { name, dtype } of shards.flatMap(({ header }) => header.tensors)) {
    if (isScannable(dtype) || !(dtype.startsWith("F8_") || name.endsWith(".weight"))) continue;
    throw new ModelError(`${folder}: ${name} has codes of the dtype ${dtype}, but ${reason}`);
  }
}

/** Lists the dense tensors of each file. A weight is in the file of its codes. */
function denseShards(
  checkpoint: Checkpoint,
  weights: readonly StoredWeight[],
  { leftOut }: Format,
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

/** A weight whose codes exports take over. */
export interface WeightInCodes extends CodedWeight {
  /** Reads all grids. */
  grids(): Promise<RowGrids>;
  /** Reads the codes, with one grid per row and `size` columns. @param size divides the group size of the weight */
  inGroups(size: number): Promise<WeightCodes>;
}

/** Returns a weight whose codes exports take over. Undefined if the checkpoint has no codes of it, or others. */
export function codesOf(weights: TensorSource, name: string): WeightInCodes | undefined {
  if (!(weights instanceof DenseCheckpoint)) return undefined;
  const { stored: source } = weights, stored = weights.storedWeights.get(name)?.coded;
  if (!stored) return undefined;
  const grids = () => stored.readGrids(source);
  return {
    ...stored,
    grids,
    async inGroups(size) {
      const { rows, cols, groupSize } = stored, { scales, zeros } = await grids();
      // A stored grid has whole groups, and a row has whole stored grids.
      const gridOfGroup = Uint32Array.from(
        { length: rows * cols / size },
        (_, i) => Math.floor(i * size / (groupSize || cols)),
      );
      return {
        codes: await stored.readCodes(source),
        scales: Float32Array.from(gridOfGroup, (grid) => scales[grid]),
        zeros: Uint8Array.from(gridOfGroup, (grid) => zeros[grid]),
      };
    },
  };
}

/** Whether weights come from a checkpoint in whose format exports take over the codes. */
export function hasCodes(weights: TensorSource): boolean {
  return weights instanceof DenseCheckpoint && weights.storedWeights.values().some(({ coded }) => coded);
}
