/**
 * Wraps a source of layers that lose columns. The source receives each weight in its old shape, with 0 in the removed
 * columns, because the layers that compute its inputs are not smaller yet while the model is calibrated.
 */

import { columnIndices, placeColumns } from "../../tensor/columns.ts";
import type { CalibratedModel } from "../calibrated_model.ts";
import type { CalibratedGroup } from "../open_round.ts";

/** @param onKept called with the columns that the layer `name` keeps, before its weight is replaced */
export function maskedColumns(
  source: CalibratedModel,
  onKept: (name: string, kept: Uint32Array) => void,
): CalibratedModel {
  return {
    layerCount: source.layerCount,
    async *groups() {
      for await (const group of source.groups()) yield maskedGroup(group, onKept);
    },
  };
}

function maskedGroup(
  group: CalibratedGroup,
  onKept: (name: string, kept: Uint32Array) => void,
): CalibratedGroup {
  return {
    ...group,
    async replace(name, weight, _quantized, kept) {
      const layer = group.layers.find((layer) => layer.name === name);
      if (!layer || !kept) throw new TypeError(`${name}: needs the columns that remain`);
      const columns = columnIndices(kept);
      onKept(name, columns);
      await group.replace(name, placeColumns(weight, columns, layer.weight.shape[1]));
    },
  };
}
