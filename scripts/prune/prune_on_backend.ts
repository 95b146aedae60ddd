/** Prunes a model on a backend in this process. No host takes part, and the pruned weights stay in memory. */

import type { Backend } from "../../src/backend/backend.ts";
import { readMatrix, TiledMatrix, writeMatrix } from "../../src/backend/tiled_matrix.ts";
import type { LayerGroup } from "../../src/client/model_source.ts";
import type { Factor } from "../../src/linalg/factor.ts";
import type { Model } from "../../src/models/model.ts";
import { overlay } from "../../src/checkpoint/tensor_source.ts";
import { compressLayer, type LayerParameters } from "../../src/layer/compress_layer.ts";
import { calibratedModel } from "../../src/prune/prune_model.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { isFloatDtype } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";

/**
 * Calibrates `model` on `windows` of token ids and prunes every linear layer. All windows have the same length.
 * @returns a model that shares the other weights with `model`. Its pruned weights have the dtype of the original weights
 */
export async function pruneOnBackend(
  backend: Backend,
  model: Model,
  windows: readonly Uint32Array[],
  parameters: LayerParameters,
): Promise<Model> {
  const replaced = new Map<string, HostTensor>();
  const source = calibratedModel(model, backend, {
    windows,
    onReplace: (name, weight) => Promise.resolve(void replaced.set(name, weight)),
  });
  for await (const group of source.groups()) await pruneGroup(backend, group, parameters);
  return { spec: model.spec, weights: overlay(model.weights, replaced) };
}

/** Prunes the layers of one group. They share a Hessian, which is factored once. */
async function pruneGroup(backend: Backend, group: LayerGroup, parameters: LayerParameters): Promise<void> {
  const order = group.layers[0].weight.shape[1];
  const hessian = new TiledMatrix(backend, { label: "hessian", rows: order, cols: order, storage: "upper" });
  let factor: Factor | undefined;
  try {
    writeMatrix(backend, hessian, unpackTriangle(asFloat32(group.hessian.data), order));
    for (const { name, weight } of group.layers) {
      const [rows, cols] = weight.shape;
      const matrix = new TiledMatrix(backend, { label: name, rows, cols });
      writeMatrix(backend, matrix, weightValues(weight));
      const operands = factor
        ? { layer: { weight: matrix }, factor }
        : { layer: { weight: matrix }, hessian };
      const compressed = await compressLayer(backend, operands, parameters, () => performance.now());
      factor ??= compressed.factor;
      const q = await readMatrix(backend, compressed.solution.q);
      compressed.solution.destroy();
      matrix.destroy();
      await group.replace(name, { dtype: "F32", shape: weight.shape, data: new Uint8Array(q.buffer) });
    }
  } finally {
    // The factorisation happens in place, so the factor owns the memory of the Hessian.
    if (factor) factor.destroy();
    else hessian.destroy();
  }
}

/** @throws {RangeError} if the weight is not a float tensor */
function weightValues({ dtype, data }: HostTensor): Float32Array {
  if (!isFloatDtype(dtype)) throw new RangeError(`weight: dtype ${dtype} is not one of F32, F16 and BF16`);
  return toFloat32(data, dtype);
}

/** Converts a packed upper triangle to an (n, n) matrix with zeros below the diagonal. */
function unpackTriangle(packed: Float32Array, n: number): Float32Array {
  const h = new Float32Array(n * n);
  for (let i = 0, at = 0; i < n; at += n - i, i++) h.set(packed.subarray(at, at + n - i), i * n + i);
  return h;
}
