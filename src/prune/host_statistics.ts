/** Copies the statistics of a calibrated model to host memory, for clients that send the layers to servers. */

import type { LayerGroup, ModelSource, SourceLayer } from "../client/model_source.ts";
import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { joinChunks, weightReader } from "../layer/write_layer.ts";
import type { CalibratedGroup, CalibratedModel } from "./open_round.ts";

/** A model whose statistics are in host memory. Its groups have the guards of the wrapped ones. */
export interface HostModel extends ModelSource {
  groups(): AsyncGenerator<LayerGroup & Pick<CalibratedGroup, "guard">, void, undefined>;
}

/** Wraps `model` so that its statistics and targets are tensors in host memory, and frees them on the device. */
export function withStatisticsInHostMemory(model: CalibratedModel): HostModel {
  return {
    layerCount: model.layerCount,
    async *groups() {
      for await (const group of model.groups()) {
        const layers: SourceLayer[] = [];
        for (const layer of group.layers) {
          const target = await readTarget(group.hessian, layer.weight);
          const validationTarget = await readTarget(group.validationHessian, layer.weight);
          layers.push({ ...layer, target, validationTarget });
        }
        yield {
          ...group,
          layers,
          hessian: await readBack(group.hessian),
          validationHessian: await readBack(group.validationHessian),
          replace: (...replacement) => group.replace(...replacement),
        };
      }
    },
  };
}

/** Computes the target of a layer, if it has one, and reads it back: F32, with the shape of `weight`. */
async function readTarget(
  sums: HessianAccumulator | undefined,
  weight: HostTensor,
): Promise<HostTensor | undefined> {
  const target = sums?.target(weight);
  if (!sums || !target) return undefined;
  using scratch = new ResourceSet();
  return await readBackMatrix(sums.backend, scratch.add(target));
}

/** Reads a matrix of the device: F32 [rows, cols]. */
export async function readBackMatrix(backend: Backend, matrix: TiledMatrix): Promise<HostTensor> {
  const { rows, cols } = matrix, chunks = weightReader(backend, matrix, "F32").chunks();
  return { dtype: "F32", shape: [rows, cols], data: await joinChunks(chunks, 4 * rows * cols) };
}

/** Reads a Hessian back and frees it on the device. */
async function readBack(hessian: HessianAccumulator | undefined): Promise<HostTensor | undefined> {
  const packed = await hessian?.packedUpper();
  hessian?.destroy();
  return packed;
}
