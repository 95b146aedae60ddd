/** Writes quantised checkpoints for tests, together with the dense weights that they stand for. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import type { PackResult } from "../../src/checkpoint/packed/pack_checkpoint.ts";
import { stemOf } from "../../src/checkpoint/packed/format.ts";
import { quantizedNames } from "../../src/checkpoint/quantized/layout.ts";
import { type PackedWeight, packWeight } from "../../src/checkpoint/quantized/pack_weight.ts";
import { writeQuantized } from "../../src/checkpoint/quantized/write_quantized.ts";
import type { FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import type { QuantizationGrid, QuantizedWeight } from "../../src/tensor/quantized_weight.ts";

/** A quantised weight with its grid, and with the dtype of the checkpoint. */
export interface GriddedWeight {
  readonly quantized: QuantizedWeight;
  readonly grid: QuantizationGrid;
  readonly dtype: FloatDtype;
}

/** Packs a weight and names its tensors as they are named in a checkpoint. */
export function packNamed(
  name: string,
  { quantized, grid, dtype }: GriddedWeight,
): { readonly packed: PackedWeight; readonly tensors: ReadonlyMap<string, HostTensor> } {
  const packed = packWeight(quantized, grid, dtype), names = quantizedNames(stemOf(name));
  const tensors = Object.entries(packed.tensors) as [keyof typeof names, HostTensor][];
  return { packed, tensors: new Map(tensors.map(([part, tensor]) => [names[part], tensor])) };
}

/** Writes the checkpoint in `source`, which has the dense weights, to `target` with its `weights` quantised. */
export async function writeQuantizedFolder(
  source: string,
  target: string,
  weights: Readonly<Record<string, GriddedWeight>>,
  ignore: readonly string[] = ["lm_head"],
): Promise<PackResult> {
  const checkpoint = await openCheckpoint(source, denoFileSystem);
  try {
    const sources = Object.entries(weights).map(([name, weight]) => {
      const read = () => Promise.resolve(packNamed(name, weight).tensors);
      return [name, { grid: weight.grid, module: stemOf(name), read }] as const;
    });
    return await writeQuantized(checkpoint, target, denoFileSystem, { weights: new Map(sources), ignore });
  } finally {
    await checkpoint.close();
  }
}
