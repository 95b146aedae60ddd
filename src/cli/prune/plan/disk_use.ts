/** Computes the disk space of a run from the sizes of its tensors. */

import { countCopyBytes } from "../../../checkpoint/complete_copy.ts";
import { stemOf } from "../../../checkpoint/packed/format.ts";
import { packedSpecs } from "../../../checkpoint/packed/packed_entry.ts";
import type { WeightFormat } from "../../../checkpoint/packed/plan_dense.ts";
import { PACK_QUANTIZED } from "../../../checkpoint/quantized/config.ts";
import { quantizedSpecs } from "../../../checkpoint/quantized/layout.ts";
import type { WorkFileSystem } from "../../../files/file_system.ts";
import type { ForwardPlan } from "../../../models/forward.ts";
import type { LayerQuery } from "../../../protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../../../protocol/parameters.ts";
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
    after += byteCount(packedTensors(info, queryOf(name), format));
  }
  const codes = format === PACK_QUANTIZED ? after : 0;
  return { output: dense - before + after, unfinished: states + dense + codes };
}

/** Returns the tensors that replace a pruned weight in a packed format. */
function packedTensors(
  weight: TensorSpec,
  query: LayerQuery,
  format: Exclude<WeightFormat, "dense">,
): TensorSpec[] {
  const { name, dtype, shape: [rows, cols] } = weight;
  if (format === PACK_QUANTIZED) {
    // `checkFormat` has checked that every layer has a grid.
    return quantizedSpecs(stemOf(name), { ...gridOfQuery(query)!, rows, cols, dtype: dtype as FloatDtype });
  }
  const { sparsity } = resolveParameters(layerQuerySchema.parse(query));
  return packedSpecs(weight, Math.round((1 - sparsity) * rows * cols), format);
}

function byteCount(tensors: readonly TensorSpec[]): number {
  return tensors.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
}
