/** The inputs of blocks that depend only on the ids of tokens (`ModelSpec.tokenInputs`), for the ids of a run. They stay with the states. */

import type { Backend } from "../../device/backend.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { Model } from "../../model/model.ts";
import { computedTokenRows, type TokenRows } from "../../model/token_inputs.ts";

export interface StoredTokenRows extends TokenRows {
  /** The inputs of all blocks, (blockCount, ids.length, size) f32. */
  readonly values: Float32Array<ArrayBuffer>;
}

/** Returns the bytes of the inputs of all blocks for `ids` token ids. */
export function countTokenRowBytes({ tokenInputs, blockCount }: ModelSpec, ids: number): number {
  return 4 * blockCount * ids * (tokenInputs?.size ?? 0);
}

/** @param values those of `blocks` blocks */
export function storedTokenRows(
  ids: Uint32Array,
  values: Float32Array<ArrayBuffer>,
  blocks: number,
): StoredTokenRows {
  const length = values.length / blocks;
  return {
    ids,
    values,
    of: (block) => Promise.resolve(values.subarray(block * length, (block + 1) * length)),
  };
}

/**
 * Computes the inputs of all blocks. They have the bits of a run in one process, because the ids are in its order.
 * @param table the model before its first block, whose tables have the rows of `ids`
 */
export async function computeAllRows(
  backend: Backend,
  table: Model,
  ids: Uint32Array,
): Promise<StoredTokenRows> {
  const { blockCount } = table.spec, rows = computedTokenRows(backend, table, Uint32Array.from(ids.keys()));
  const values = new Float32Array(countTokenRowBytes(table.spec, ids.length) / 4);
  for (let block = 0; block < blockCount; block++) {
    values.set(await rows.of(block), block * values.length / blockCount);
  }
  return storedTokenRows(ids, values, blockCount);
}
