/** Computes the targets of layers from their moments, which are summed over the windows of several hosts. */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { type TiledMatrix, tileEdgeOn } from "../../device/tiled_matrix.ts";
import { targetOf } from "../../layer/calibration/target_statistics.ts";
import { ingest } from "../../layer/sinks/upload.ts";
import { WeightSink } from "../../layer/sinks/matrix_sinks.ts";
import { readBackMatrix } from "../../prune/server_pruner.ts";
import { TARGET, VALIDATION_TARGET } from "../../protocol/blocks/block_names.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { SumName } from "./states.ts";

/**
 * Returns the targets of layers with the same input, by their names in the answer: F32 [outFeatures, inFeatures].
 * @param weights the weights of the layers, by their names: [outFeatures, inFeatures]
 * @param sums the sums over all windows, which have moments
 * @param isTarget whether the moments belong to a single layer, so that they are its target already
 * @throws {Refusal} `non_finite` if the moments are not finite
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function sumTargets(
  backend: Backend,
  weights: ReadonlyMap<string, HostTensor>,
  sums: Readonly<Partial<Record<SumName, HostTensor>>>,
  isTarget: boolean,
): Promise<Map<string, HostTensor>> {
  const targets = new Map<string, HostTensor>();
  for (const [prefix, kind] of [[TARGET, "moments"], [VALIDATION_TARGET, "validation_moments"]] as const) {
    const moments = sums[kind];
    if (!moments) continue;
    using scratch = new ResourceSet();
    const cross = isTarget ? undefined : scratch.add(await upload(backend, kind, moments));
    for (const [name, weight] of weights) {
      using own = new ResourceSet();
      const target = cross
        ? await readBackMatrix(backend, own.add(targetOf(backend, cross, weight)))
        : moments;
      targets.set(prefix + name, target);
    }
  }
  return targets;
}

/** Copies an F32 matrix to the device. */
async function upload(
  backend: Backend,
  name: string,
  { dtype, shape, data }: HostTensor,
): Promise<TiledMatrix> {
  using scratch = new ResourceSet();
  const [rows, cols] = shape, tensor = { name, dtype, shape, begin: 0, end: data.byteLength };
  const sink = scratch.add(new WeightSink(backend, { name, dtype: "F32", rows, cols }, tileEdgeOn(backend)));
  await ingest(backend, [{ tensor, bytes: data }], new Map([[name, sink]]));
  return sink.take();
}
