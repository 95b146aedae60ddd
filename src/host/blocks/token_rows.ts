/** The inputs of blocks that depend only on the ids of tokens (`ModelSpec.tokenInputs`), for the ids of a run. They stay with the states. */

import type { Backend } from "../../device/backend.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { Model } from "../../model/model.ts";
import { computedTokenRows, type TokenRows } from "../../model/token_inputs.ts";

export interface StoredTokenRows extends TokenRows {
  /** The inputs of each block, (ids.length, size) f32. One array for all blocks could exceed 4 GiB, and `crc32` would ignore a part of it. */
  readonly blocks: readonly Float32Array<ArrayBuffer>[];
}

/** Returns the bytes of the inputs of all blocks for `ids` token ids. */
export function countTokenRowBytes({ tokenInputs, blockCount }: ModelSpec, ids: number): number {
  return 4 * blockCount * ids * (tokenInputs?.size ?? 0);
}

export function storedTokenRows(
  ids: Uint32Array<ArrayBuffer>,
  blocks: readonly Float32Array<ArrayBuffer>[],
): StoredTokenRows {
  return { ids, blocks, of: (block) => Promise.resolve(blocks[block]) };
}

/**
 * Computes the inputs of all blocks. They have the bits of a run in one process, because the ids are in its order.
 * @param table the model before its first block, whose tables have the rows of `ids`
 */
export async function computeAllRows(
  backend: Backend,
  table: Model,
  ids: Uint32Array<ArrayBuffer>,
  signal: AbortSignal,
): Promise<StoredTokenRows> {
  const rows = computedTokenRows(backend, table, Uint32Array.from(ids.keys()));
  const blocks: Float32Array<ArrayBuffer>[] = [];
  while (blocks.length < table.spec.blockCount) {
    blocks.push(await rows.of(blocks.length));
    signal.throwIfAborted();
  }
  return storedTokenRows(ids, blocks);
}
