/** Weights and checkpoints for tests of packing, and an independent decoder of packed weights. */

import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import { floatsToBytes } from "../../../src/tensor/convert.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { decodeBitmask } from "../../reference/bitmask.ts";
import { uniform } from "../../support/random.ts";

/** Makes a weight (rows, cols). About the fraction `sparsity` of its entries is +0, and the others are not zero. */
export function sparseWeight(
  dtype: FloatDtype,
  [rows, cols]: readonly [number, number],
  sparsity: number,
  seed = 1,
): HostTensor {
  const next = uniform(seed);
  const values = Float32Array.from({ length: rows * cols }, () => next() < sparsity ? 0 : next() + 0.5);
  return { dtype, shape: [rows, cols], data: floatsToBytes(values, dtype) };
}

/** Makes a 2:4 weight (rows, cols): of every four entries of a row, at most two are not zero. */
export function twoFourWeight(
  dtype: FloatDtype,
  [rows, cols]: readonly [number, number],
  seed = 2,
): HostTensor {
  const next = uniform(seed);
  const values = new Float32Array(rows * cols);
  for (let group = 0; group < values.length; group += 4) {
    for (let count = Math.floor(next() * 3); count > 0; count--) {
      values[group + Math.floor(next() * 4)] = next() - 2;
    }
  }
  return { dtype, shape: [rows, cols], data: floatsToBytes(values, dtype) };
}

/** Runs `body` with the checkpoint in `folder` and closes the checkpoint. */
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

/** Reads all tensors of the checkpoint in `folder`. */
export function readTensors(folder: string): Promise<Record<string, HostTensor>> {
  return withCheckpoint(folder, async (checkpoint) => {
    const tensors: Record<string, HostTensor> = {};
    for (const name of checkpoint.names()) tensors[name] = await checkpoint.tensor(name);
    return tensors;
  });
}

/** Decodes a packed weight with the independent decoder. @returns the bytes of the dense weight */
export function decodePacked(tensors: Record<string, HostTensor>, weight: string): Uint8Array {
  const [compressed, bitmask, shape] = ["compressed", "bitmask", "shape"].map((part) =>
    tensors[weight.replace(/weight$/, part)]
  );
  return decodeBitmask(compressed, bitmask, shape, compressed.dtype === "F32" ? 4 : 2);
}
