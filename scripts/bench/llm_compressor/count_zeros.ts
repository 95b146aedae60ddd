/** Counts the zeros in the linear layers of the transformer blocks of a checkpoint. */

import { openModelFolder } from "../../../src/model/model.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { linearLayers } from "../../../src/prune/block_plan.ts";
import { bytesToFloats, type FloatDtype } from "../../../src/tensor/dtype.ts";

/** The number of weights in the linear layers of the transformer blocks, and how many of these weights are 0. */
export interface ZeroCount {
  readonly zeros: number;
  readonly weights: number;
}

/** Counts the zeros of the dense checkpoint in `folder`. Both +0 and −0 are zeros. */
export async function countZeros(folder: string): Promise<ZeroCount> {
  await using opened = await openModelFolder(folder, denoFileSystem);
  let zeros = 0, weights = 0;
  for (const { name } of linearLayers(opened.model.spec)) {
    const { data, dtype } = await opened.checkpoint.tensor(name);
    // `openModelFolder` has checked that the weights have a floating-point dtype.
    const values = bytesToFloats(data, dtype as FloatDtype);
    weights += values.length;
    for (const value of values) if (value === 0) zeros++;
  }
  return { zeros, weights };
}
