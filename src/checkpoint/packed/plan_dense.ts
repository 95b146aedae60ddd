/**
 * Plans a dense copy of a checkpoint: which tensors each weight file has, and how their bytes are computed from
 * dense or quantised weights.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { PACK_QUANTIZED, weightFormat } from "../quantized/config.ts";
import { openDequantized } from "../quantized/dequantized_source.ts";
import { quantizedNames, WEIGHT_SUFFIX } from "../quantized/layout.ts";
import { stemOfQuantizedPart } from "../quantized/quantized_parts.ts";
import { copiedEntry, type ShardPlan } from "./rewrite_shards.ts";

/**
 * Plans the weight files of a dense copy. The entries of the plan can also be read without writing a copy.
 * @throws {ModelError} if the layout is not supported, or if a part of a weight is missing or contradicts another part
 */
export async function planDense(source: Checkpoint): Promise<ShardPlan[]> {
  if (weightFormat(source) === PACK_QUANTIZED) return await planDequantized(source);
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
