/** Solves layers at servers. Their statistics and targets are read back from the device first. */

import type { ModelPruner } from "../client/model_pruner.ts";
import type { LayerInputs, SourceLayer } from "../protocol/run/solve_round.ts";
import type { Backend } from "../device/backend.ts";
import { ResourceSet } from "../device/owned.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { joinChunks, weightReader } from "../layer/write_layer.ts";
import type { CalibratedGroup } from "./open_block.ts";
import type { RoundSolver } from "./steps.ts";

/** Returns a solver that sends the layers by `client`. */
export function serverPruner(client: Pick<ModelPruner, "solveRound">): RoundSolver {
  return {
    solveRound: (groups, ...options) => client.solveRound(withStatisticsInHostMemory(groups), ...options),
  };
}

/** Yields the groups with their statistics and targets as tensors in host memory, and frees them on the device. */
async function* withStatisticsInHostMemory(
  groups: AsyncIterable<CalibratedGroup>,
): AsyncGenerator<LayerInputs, void, undefined> {
  for await (const { hessian, validationHessian, ...group } of groups) {
    const layers: SourceLayer[] = [];
    for (const layer of group.layers) {
      if (layer.solution === "without") layers.push(layer);
      else {
        const target = await readTarget(hessian, layer.weight);
        layers.push({
          ...layer,
          target,
          validationTarget: await readTarget(validationHessian, layer.weight),
        });
      }
    }
    yield {
      ...group,
      layers,
      hessian: await readBack(hessian),
      validationHessian: await readBack(validationHessian),
    };
  }
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
