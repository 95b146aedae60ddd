/** Copies the statistics of a calibrated model to host memory, for clients that send the layers to servers. */

import type { ModelSource, SourceLayer } from "../client/model_source.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { CalibratedModel } from "./calibrated_model.ts";

/** Wraps `model` so that its statistics and targets are tensors in host memory, and frees the statistics on the device. */
export function withStatisticsInHostMemory(model: CalibratedModel): ModelSource {
  return {
    layerCount: model.layerCount,
    async *groups() {
      for await (const group of model.groups()) {
        const layers: SourceLayer[] = [];
        for (const { name, weight } of group.layers) {
          const target = await group.hessian?.readTarget(weight);
          const validationTarget = await group.validationHessian?.readTarget(weight);
          layers.push({ name, weight, target, validationTarget });
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

/** Reads a Hessian back and frees it on the device. */
async function readBack(hessian: HessianAccumulator | undefined): Promise<HostTensor | undefined> {
  const packed = await hessian?.packedUpper();
  hessian?.destroy();
  return packed;
}
