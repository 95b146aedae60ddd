/** How large a checkpoint is on the disk. */

import type { Checkpoint } from "../checkpoint.ts";

/** The bytes its weights take as safetensors files, headers included; files without weights do not count. */
export function weightFileBytes({ shards }: Checkpoint): number {
  return shards.reduce((sum, { header }) => sum + header.headerBytes + header.dataBytes, 0);
}
