/**
 * Packs quantised weights in the format of a checkpoint. The model gets the dense weight that the packed tensors stand for, so the later
 * layers are calibrated with the model that is written.
 */

import { packWeight } from "../model/formats/codes/pack_weight.ts";
import type { WrittenFormat } from "../model/formats/format.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import { isFloatDtype } from "../tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { GridOptions } from "../tensor/quantization.ts";

/** Writes the tensors of the layer `name` and flushes them to the disk. */
export type StoreTensors = (name: string, tensors: ReadonlyMap<string, HostTensor>) => Promise<void>;

/** Returns the grid that the parameters of a layer ask for, or undefined if the layer is not quantised. */
export function gridOfQuery({ bits, group_size, symmetric }: LayerQuery): GridOptions | undefined {
  if (bits === undefined) return undefined;
  return { bits, groupSize: group_size ?? 0, symmetric: symmetric ?? false };
}

/** A solved layer. `layer.weight` has the dtype of the weight in the checkpoint. */
interface SolvedWeight {
  readonly layer: { readonly name: string; readonly weight: Pick<HostTensor, "dtype"> };
  readonly weight: HostTensor;
  readonly quantized?: QuantizedWeight;
}

/**
 * Packs the codes of a layer that has a grid.
 * @param format the format of the result. Undefined if it is dense
 * @returns the tensors that store the codes, and the dense weight that they stand for. A layer without codes keeps its weight
 * @throws {Error} if the layer was not quantised by the server
 * @throws {RangeError} if the format cannot store the quantised weight
 */
export function packAnswer(
  format: WrittenFormat | undefined,
  query: LayerQuery,
  { layer: { name, weight: { dtype } }, weight, quantized }: SolvedWeight,
): { readonly tensors: ReadonlyMap<string, HostTensor>; readonly dense: HostTensor } {
  const grid = gridOfQuery(query);
  if (!format || !grid || !isFloatDtype(dtype)) return { tensors: new Map(), dense: weight };
  if (!quantized) {
    throw new Error(`${name}: the server answered no codes, although the layer has --bits ${grid.bits}`);
  }
  try {
    return packWeight(format, { ...grid, name, dtype }, quantized);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RangeError(`${name}: ${error.message}`, { cause: error });
  }
}
