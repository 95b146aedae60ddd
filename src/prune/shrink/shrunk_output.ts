/**
 * Stores the result of a run that removes columns from layers. While the model is calibrated, its tensors have their
 * old shapes, with 0 in the removed columns, so the layers that compute the inputs of these columns have no effect
 * through them. The result has neither these columns nor the rows that compute them.
 */

import { readTensor } from "../../model/checkpoint/tensor_source.ts";
import type { WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { Model } from "../../model/model.ts";
import { columnIndices, placeColumns, placeRows, takeColumns, takeRows } from "../../tensor/columns.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { linearLayers } from "../block_plan.ts";
import { wholeWeight } from "../target_guard.ts";
import type { LayerEntry } from "../run/journal.ts";
import type { OutputPlan } from "../run/plan_output.ts";
import type { ReadingLayer } from "./units.ts";

/** How a tensor loses the units of a block. */
export interface Cut {
  /** The layer that reads the units. The columns that it keeps decide what the tensor keeps. */
  readonly reader: ReadingLayer;
  readonly axis: "rows" | "columns";
  /** The number of rows or columns before the units are removed. */
  readonly size: number;
}

/** Returns how each tensor of the model that has units is cut, by its name. */
export function unitCuts(spec: ModelSpec, readers: readonly ReadingLayer[]): Map<string, Cut> {
  const cuts = new Map<string, Cut>(), layers = linearLayers(spec);
  for (const reader of readers) {
    cuts.set(reader.name, { reader, axis: "columns", size: reader.cols });
    for (const { name, block, linear, rows } of layers) {
      if (block !== reader.block || !reader.writers.includes(linear.name)) continue;
      const cut: Cut = { reader, axis: "rows", size: rows };
      cuts.set(name, cut);
      if (linear.bias) cuts.set(name.replace(/weight$/, "bias"), cut);
    }
  }
  return cuts;
}

/**
 * Returns the rows or columns of a tensor that remain if the reader keeps `columns`. The columns that are removed
 * together belong to equally many rows of each part. Those of one key head, for example, are fewer than the columns of
 * its query heads.
 */
function keptIndices({ reader: { cols, group, parts }, axis, size }: Cut, columns: Uint32Array): number[] {
  const partRows = axis === "rows" ? size / parts : size, rows = partRows * group / cols;
  const inPart = Array.from(columns.filter((column) => column % group === 0)).flatMap((column) =>
    Array.from({ length: rows }, (_, row) => column / group * rows + row)
  );
  return Array.from({ length: size / partRows }, (_, part) => inPart.map((i) => part * partRows + i)).flat();
}

export interface ShrunkOutput {
  readonly plan: WritePlan;
  readonly cuts: ReadonlyMap<string, Cut>;
  /** The model that is calibrated, whose tensors have their old shapes. */
  readonly model: Model;
  /** The network of the result. */
  readonly spec: ModelSpec;
  /** The layers that earlier processes have solved. */
  readonly layers: readonly LayerEntry[];
}

/** Returns how the result of a run is stored whose layers have the pattern `columns`. */
export function shrunkOutput({ plan, cuts, model: { weights }, spec, layers }: ShrunkOutput): OutputPlan {
  const kept = new Map<string, Uint32Array>(
    layers.map(({ name, kept = [] }) => [name, Uint32Array.from(kept)]),
  );
  const keptIn = (cut: Cut) => keptIndices(cut, kept.get(cut.reader.name)!);
  const storedTensor = (name: string, tensor: HostTensor): HostTensor => {
    const cut = cuts.get(name);
    if (!cut) return tensor;
    return (cut.axis === "rows" ? takeRows : takeColumns)(tensor, keptIn(cut));
  };
  return {
    plan,
    result: (written) => ({ spec, weights: written }),
    async read(written, name) {
      const cut = cuts.get(name), stored = await readTensor(written, name);
      if (!cut) return stored;
      return cut.axis === "rows"
        ? placeRows(stored, keptIn(cut), await readTensor(weights, name))
        : placeColumns(stored, keptIn(cut), cut.size);
    },
    // The layers that compute the inputs of a layer are not smaller yet, so the model keeps the old shape, with 0 in the removed columns.
    takeAnswer(solved) {
      const { layer: { name } } = solved;
      if (!solved.kept) throw new TypeError(`${name}: needs the columns that remain`);
      kept.set(name, columnIndices(solved.kept));
      return Promise.resolve(wholeWeight(solved));
    },
    stored: (name, tensor) => Promise.resolve(new Map([[name, storedTensor(name, tensor)]])),
    async storedLayer(layer, weight) {
      const tensors = new Map<string, HostTensor>();
      for (const [name, { reader }] of cuts) {
        if (reader.name !== layer) continue;
        tensors.set(name, storedTensor(name, name === layer ? weight : await readTensor(weights, name)));
      }
      return tensors;
    },
    keptColumns: (name) => kept.get(name),
  };
}
