/** Computes the size of a checkpoint's weights on the disk. */

import type { Checkpoint } from "./checkpoint.ts";

/** Adds up the sizes of the weight files as safetensors files, headers included. Other files do not count. */
export function countWeightFileBytes({ shards }: Checkpoint): number {
  return shards.reduce((sum, { header }) => sum + header.headerBytes + header.dataBytes, 0);
}
