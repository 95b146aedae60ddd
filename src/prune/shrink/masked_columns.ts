/**
 * Wraps a source of layers that lose columns. The source receives each weight in its old shape, with 0 in the removed
 * columns, because the layers that compute its inputs are not smaller yet while the model is calibrated.
 */

import type { LayerGroup } from "../../client/model_source.ts";
import { placeColumns } from "../../tensor/columns.ts";
import type { CalibratedModel } from "../calibrated_model.ts";

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

function maskedGroup<Hessian>(
  group: LayerGroup<Hessian>,
  onKept: (name: string, kept: Uint32Array) => void,
): LayerGroup<Hessian> {
  return {
    ...group,
    async replace(name, weight, _quantized, kept) {
      const layer = group.layers.find((layer) => layer.name === name);
      if (!layer || !kept) throw new TypeError(`${name}: needs the columns that remain`);
      const columns = new Uint32Array(kept.data.slice().buffer);
      onKept(name, columns);
      await group.replace(name, placeColumns(weight, columns, layer.weight.shape[1]));
    },
  };
}
