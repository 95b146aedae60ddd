/** Computes the disk space of a run from the sizes of its tensors. */

import { countCopyBytes } from "../../../checkpoint/complete_copy.ts";
import type { WeightFormat } from "../../../checkpoint/quantized/config.ts";
import { quantizedSpecs, stemOf } from "../../../checkpoint/quantized/layout.ts";
import type { WorkFileSystem } from "../../../files/file_system.ts";
import type { ForwardPlan } from "../../../models/forward.ts";
import type { BlockPlan, SizedLayer } from "../../../prune/block_plan.ts";
import type { TensorSpec } from "../../../safetensors/encode.ts";
import type { FloatDtype } from "../../../tensor/dtype.ts";
import { tensorBytes } from "../../../tensor/shape.ts";
import { gridOfQuery } from "../../../prune/quantized_model.ts";
import type { PruneJob } from "../run_prune.ts";

/** The bytes that a run needs on the disk. */
export interface DiskUse {
  /** The result. */
  readonly output: number;
  /** The files of the unfinished run, which are removed at the end. */
  readonly unfinished: number;
}

/** Returns the disk space of a run. The report files, which have about a kilobyte for each layer, are not counted. */
export async function diskUse(
  { checkpoint, queryOf, reportFileNames }: PruneJob,
  layers: readonly SizedLayer[],
  format: WeightFormat,
  { statesBytes }: ForwardPlan,
  plan: BlockPlan,
  fs: WorkFileSystem,
): Promise<DiskUse> {
  const dense = await countCopyBytes(checkpoint, fs, reportFileNames);
  // The hidden states before a block are kept until those before the next block are on the disk.
  const states = plan.lastBlock > 0 ? 2 * statesBytes : 0;
  if (format === "dense") return { output: dense, unfinished: states };
  let before = 0, after = 0;
  for (const { name } of layers) {
    const info = { ...checkpoint.info(name), name };
    before += byteCount([info]);
    const { dtype, shape: [rows, cols] } = info, grid = gridOfQuery(queryOf(name))!; // `checkFormat` has checked that it exists
    after += byteCount(quantizedSpecs(stemOf(name), { ...grid, rows, cols, dtype: dtype as FloatDtype }));
  }
  return { output: dense - before + after, unfinished: states + dense + after };
}

function byteCount(tensors: readonly TensorSpec[]): number {
  return tensors.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
}
