/**
 * Wraps a source of layers so that their quantised weights are stored in the layout `pack-quantized`. Each quantised
 * weight is packed and stored, and the wrapped source receives the dense weight that the packed tensors stand for. The
 * later layers are therefore calibrated with the model that is written.
 */

import { stemOf } from "../model/checkpoint/quantized/layout.ts";
import { namedTensors, packWeight } from "../model/checkpoint/quantized/pack_weight.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { isFloatDtype } from "../tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { GridOptions } from "../tensor/quantization.ts";
import { withReplace } from "./calibrated_model.ts";
import type { CalibratedModel } from "./open_round.ts";

/** Writes the tensors of the layer `name` and flushes them to the disk. */
export type StoreTensors = (name: string, tensors: ReadonlyMap<string, HostTensor>) => Promise<void>;

/** Returns the grid that the parameters of a layer ask for, or undefined if the layer is not quantised. */
export function gridOfQuery({ bits, group_size, symmetric }: LayerQuery): GridOptions | undefined {
  if (bits === undefined) return undefined;
  return { bits, groupSize: group_size ?? 0, symmetric: symmetric ?? false };
}

/**
 * Wraps `source`. The method `replace` of the groups throws
 * - {Error} if a layer that has a grid was not quantised by the server,
 * - {RangeError} if the layout cannot store the quantised weight.
 * @param gridOf returns the grid of the layer `name`, or undefined if the layer stays dense
 */
export function quantizedModel(
  source: CalibratedModel,
  gridOf: (name: string) => GridOptions | undefined,
  store: StoreTensors,
): CalibratedModel {
  return withReplace(source, (group) => async (name, weight, quantized) => {
    const grid = gridOf(name), dtype = group.layers.find((layer) => layer.name === name)?.weight.dtype;
    if (!grid || !dtype || !isFloatDtype(dtype)) return await group.replace(name, weight);
    const { tensors, dense } = packAnswer(name, quantized, grid, dtype);
    await store(name, tensors);
    await group.replace(name, dense);
  });
}

/** Packs the quantised weight of a server's answer. Throws the errors that {@link quantizedModel} lists. */
export function packAnswer(
  name: string,
  quantized: QuantizedWeight | undefined,
  grid: GridOptions,
  dtype: Parameters<typeof packWeight>[2],
): { readonly tensors: ReadonlyMap<string, HostTensor>; readonly dense: HostTensor } {
  if (!quantized) {
    throw new Error(`${name}: the server answered no codes, although the layer has --bits ${grid.bits}`);
  }
  try {
    const { tensors, dense } = packWeight(quantized, grid, dtype);
    return { tensors: namedTensors(stemOf(name), tensors), dense };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RangeError(`${name}: ${error.message}`, { cause: error });
  }
}
