/** Presents a calibrated model with statistics in host memory, as clients of servers need them. */

import type { ModelSource } from "../client/model_source.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { CalibratedModel } from "./calibrated_model.ts";

/** Wraps `model` so that its statistics are tensors in host memory, and frees those on the device. */
export function withStatisticsInHostMemory(model: CalibratedModel): ModelSource {
  return {
    layerCount: model.layerCount,
    async *groups() {
      for await (const group of model.groups()) {
        const hessian = await readBack(group.hessian);
        const validationHessian = await readBack(group.validationHessian);
        yield {
          ...group,
          hessian,
          validationHessian,
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
