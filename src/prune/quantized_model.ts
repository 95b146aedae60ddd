/**
 * Stores quantised weights in the layout `pack-quantized`. The model gets the dense weight that the packed tensors stand for, so the later
 * layers are calibrated with the model that is written.
 */

import { packWeight } from "../model/formats/pack_quantized.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { type FloatDtype, isFloatDtype } from "../tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { GridOptions } from "../tensor/quantization.ts";
import type { RoundLayer } from "../protocol/run/solve_round.ts";

/** Writes the tensors of the layer `name` and flushes them to the disk. */
export type StoreTensors = (name: string, tensors: ReadonlyMap<string, HostTensor>) => Promise<void>;

/** Returns the grid that the parameters of a layer ask for, or undefined if the layer is not quantised. */
export function gridOfQuery({ bits, group_size, symmetric }: LayerQuery): GridOptions | undefined {
  if (bits === undefined) return undefined;
  return { bits, groupSize: group_size ?? 0, symmetric: symmetric ?? false };
}

/**
 * Stores the packed tensors of a layer that has a grid. Returns the dense weight that they stand for, or the weight of a layer without a
 * grid. Throws the errors of {@link packAnswer}.
 */
export async function storePacked(
  { layer: { name, weight: { dtype } }, weight, quantized }: RoundLayer,
  grid: GridOptions | undefined,
  store: StoreTensors,
): Promise<HostTensor> {
  if (!grid || !isFloatDtype(dtype)) return weight;
  const { tensors, dense } = packAnswer(name, quantized, grid, dtype);
  await store(name, tensors);
  return dense;
}

/**
 * Packs the quantised weight of an answer.
 * @throws {Error} if the layer was not quantised by the server
 * @throws {RangeError} if the layout cannot store the quantised weight
 */
export function packAnswer(
  name: string,
  quantized: QuantizedWeight | undefined,
  grid: GridOptions,
  dtype: FloatDtype,
): { readonly tensors: ReadonlyMap<string, HostTensor>; readonly dense: HostTensor } {
  if (!quantized) {
    throw new Error(`${name}: the server answered no codes, although the layer has --bits ${grid.bits}`);
  }
  try {
    return packWeight({ ...grid, name, dtype }, quantized);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RangeError(`${name}: ${error.message}`, { cause: error });
  }
}
