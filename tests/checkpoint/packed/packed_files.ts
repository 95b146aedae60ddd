/** Checkpoint folders for tests of packing, and their weights as an independent decoder reads them. */

import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import { fromFloat32 } from "../../../src/tensor/convert.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { decodeBitmask } from "../../reference/bitmask.ts";
import { uniform } from "../../support/random.ts";

/** A weight (rows, cols) with `sparsity` of its entries +0. The rest are never zero. */
export function sparseWeight(
  dtype: FloatDtype,
  [rows, cols]: readonly [number, number],
  sparsity: number,
  seed = 1,
): HostTensor {
  const next = uniform(seed);
  const values = Float32Array.from({ length: rows * cols }, () => next() < sparsity ? 0 : next() + 0.5);
  return { dtype, shape: [rows, cols], data: fromFloat32(values, dtype) };
}

/** A weight (rows, cols) in which every four entries of a row keep none, one or two. */
export function twoFourWeight(
  dtype: FloatDtype,
  [rows, cols]: readonly [number, number],
  seed = 2,
): HostTensor {
  const next = uniform(seed);
  const values = new Float32Array(rows * cols);
  for (let group = 0; group < values.length; group += 4) {
    for (let kept = Math.floor(next() * 3); kept > 0; kept--) {
      values[group + Math.floor(next() * 4)] = next() - 2;
    }
  }
  return { dtype, shape: [rows, cols], data: fromFloat32(values, dtype) };
}

/** Opens a folder for as long as `body` runs. */
export async function withCheckpoint<T>(
  folder: string,
  body: (opened: Checkpoint) => Promise<T>,
): Promise<T> {
  const checkpoint = await openCheckpoint(folder, denoFileSystem);
  try {
    return await body(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

/** Every tensor of a folder, by name. */
export function readTensors(folder: string): Promise<Record<string, HostTensor>> {
  return withCheckpoint(folder, async (checkpoint) => {
    const tensors: Record<string, HostTensor> = {};
    for (const name of checkpoint.names()) tensors[name] = await checkpoint.tensor(name);
    return tensors;
  });
}

/** The dense bytes of a packed weight, by the independent decoder. */
export function decodePacked(tensors: Record<string, HostTensor>, weight: string): Uint8Array {
  const [compressed, bitmask, shape] = ["compressed", "bitmask", "shape"].map((part) =>
    tensors[weight.replace(/weight$/, part)]
  );
  return decodeBitmask(compressed, bitmask, shape, compressed.dtype === "F32" ? 4 : 2);
}
