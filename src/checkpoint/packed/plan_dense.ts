/**
 * Plans a dense copy of a checkpoint: which tensors each weight file has, and how their bytes are computed from
 * dense, sparse or quantised weights.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { ModelError } from "../../files/model_error.ts";
import { isPackQuantized, PACK_QUANTIZED } from "../quantized/config.ts";
import { openDequantized } from "../quantized/dequantized_source.ts";
import { quantizedNames } from "../quantized/layout.ts";
import { stemOfQuantizedPart } from "../quantized/quantized_parts.ts";
import { type PackFormat, PART_SUFFIXES, partNames, readPackFormat, WEIGHT_SUFFIX } from "./format.ts";
import { readPackedParts, stemOfPart } from "./packed_parts.ts";
import { copiedEntry, type ShardEntry, type ShardPlan } from "./rewrite_shards.ts";
import { unpackedEntry } from "./unpacked_entry.ts";

/** The format in which a checkpoint stores its weights. */
export type WeightFormat = "dense" | PackFormat | typeof PACK_QUANTIZED;

/**
 * Returns the format of the weights of a checkpoint.
 * @throws {ModelError} if the weights are packed or quantised in a layout that Pare does not know
 */
export function weightFormat({ config, folder }: Checkpoint): WeightFormat {
  if (isPackQuantized(config)) return PACK_QUANTIZED;
  try {
    return readPackFormat(config) ?? "dense";
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(`${folder}: ${error.message}`, { cause: error });
  }
}

/**
 * Plans the weight files of a dense copy. The entries of the plan can also be read without writing a copy.
 * @throws {ModelError} if the layout is not supported, or if a part of a weight is missing or contradicts another part
 */
export async function planDense(source: Checkpoint): Promise<ShardPlan[]> {
  const format = weightFormat(source);
  if (format === PACK_QUANTIZED) return await planDequantized(source);
  if (format !== "dense") return await planSparse(source, format);
  return source.shards.map((shard) => ({
    shard,
    entries: shard.header.tensors.map(({ name }) => copiedEntry(source, name)),
  }));
}

/** Plans the new weight files of a quantised checkpoint. A weight goes to the shard that holds its codes. */
async function planDequantized(source: Checkpoint): Promise<ShardPlan[]> {
  const dense = await openDequantized(source);
  return source.shards.map((shard) => ({
    shard,
    entries: shard.header.tensors.flatMap(({ name }) => {
      const stem = stemOfQuantizedPart(name);
      if (stem === undefined) return copiedEntry(source, name);
      return name === quantizedNames(stem).packed ? copiedEntry(dense, stem + WEIGHT_SUFFIX) : [];
    }),
  }));
}

/**
 * Plans the new weight files of a sparse checkpoint. A weight goes to the shard that holds its part `compressed`. The library may have put its other
 * parts into other shards.
 */
async function planSparse(source: Checkpoint, format: PackFormat): Promise<ShardPlan[]> {
  const plans: ShardPlan[] = [];
  for (const shard of source.shards) {
    const entries: ShardEntry[] = [];
    for (const { name } of shard.header.tensors) {
      const stem = stemOfPart(name);
      if (stem === undefined) entries.push(copiedEntry(source, name));
      else if (name.endsWith(PART_SUFFIXES.compressed)) {
        entries.push(unpackedEntry(source, await readPackedParts(source, stem, format)));
      } else source.info(partNames(stem).compressed); // throws if the weight has no part `compressed`
    }
    plans.push({ shard, entries });
  }
  return plans;
}
