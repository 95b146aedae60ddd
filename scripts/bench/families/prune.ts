/** Prunes a model in this process, into memory: what the bench of families measures, with no host and no files between. */

import type { Backend } from "../../../src/backend/backend.ts";
import { readMatrix, TiledMatrix, writeMatrix } from "../../../src/backend/tiled_matrix.ts";
import type { LayerGroup } from "../../../src/client/model_source.ts";
import type { Factor } from "../../../src/linalg/factor.ts";
import type { Model } from "../../../src/models/model.ts";
import { overlay } from "../../../src/checkpoint/tensor_source.ts";
import { compressLayer, type LayerParameters } from "../../../src/layer/compress_layer.ts";
import { calibratedModel } from "../../../src/prune/prune_model.ts";
import { toFloat32 } from "../../../src/tensor/convert.ts";
import { isFloatDtype } from "../../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../../src/tensor/host_tensor.ts";

/** `model` with every linear layer pruned; the weights are in host memory. */
export async function pruneInMemory(
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

/** The layers of a group share a Hessian, and so a factor. */
async function pruneGroup(backend: Backend, group: LayerGroup, parameters: LayerParameters): Promise<void> {
  const order = group.layers[0].weight.shape[1];
  const hessian = new TiledMatrix(backend, { label: "hessian", rows: order, cols: order, storage: "upper" });
  let factor: Factor | undefined;
  try {
    writeMatrix(backend, hessian, unpacked(asFloat32(group.hessian.data), order));
    for (const { name, weight } of group.layers) {
      const [rows, cols] = weight.shape;
      const matrix = new TiledMatrix(backend, { label: name, rows, cols });
      writeMatrix(backend, matrix, floats(weight));
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
    // The factor was made of the Hessian, in place.
    if (factor) factor.destroy();
    else hessian.destroy();
  }
}

function floats({ dtype, data }: HostTensor): Float32Array {
  if (!isFloatDtype(dtype)) throw new RangeError(`weight: has dtype ${dtype}, needs F32, F16 or BF16`);
  return toFloat32(data, dtype);
}

/** (n, n), zeros below the diagonal, from the packed upper triangle. */
function unpacked(packed: Float32Array, n: number): Float32Array {
  const h = new Float32Array(n * n);
  for (let i = 0, at = 0; i < n; at += n - i, i++) h.set(packed.subarray(at, at + n - i), i * n + i);
  return h;
}
