/**
 * Stores the result of a run that removes columns from layers. While the model is calibrated, its tensors have their
 * old shapes, with 0 in the removed columns, so the layers that compute the inputs of these columns have no effect
 * through them. The result has neither these columns nor the rows that compute them.
 */

import { readTensor } from "../../model/checkpoint/tensor_source.ts";
import type { WritePlan } from "../../model/checkpoint/write/write_plan.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { Model } from "../../model/model.ts";
import { placeColumns, placeRows, takeColumns, takeRows } from "../../tensor/columns.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { linearLayers } from "../block_plan.ts";
import type { LayerEntry } from "../run/journal.ts";
import type { OutputPlan } from "../run/plan_output.ts";
import { maskedColumns } from "./masked_columns.ts";
import type { FeedForwardNames } from "./shrinkable_families.ts";

/** How a tensor loses the neurons of a block. */
export interface Cut {
  /** The name of the weight that reads the neurons. The columns that it keeps are those that the tensor keeps. */
  readonly reader: string;
  readonly axis: "rows" | "columns";
}

/** Returns how each tensor of the model that has neurons is cut, by its name. A bias has one row per neuron. */
export function neuronCuts(spec: ModelSpec, { reader, writers }: FeedForwardNames): Map<string, Cut> {
  const cuts = new Map<string, Cut>();
  for (const { name, linear } of linearLayers(spec)) {
    const weight = `${name.slice(0, -`${linear.name}.weight`.length)}${reader}.weight`;
    if (linear.name === reader) cuts.set(name, { reader: name, axis: "columns" });
    if (!writers.includes(linear.name)) continue;
    cuts.set(name, { reader: weight, axis: "rows" });
    if (linear.bias) cuts.set(name.replace(/weight$/, "bias"), { reader: weight, axis: "rows" });
  }
  return cuts;
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
  const storedTensor = (name: string, tensor: HostTensor): HostTensor => {
    const cut = cuts.get(name);
    if (!cut) return tensor;
    return (cut.axis === "rows" ? takeRows : takeColumns)(tensor, kept.get(cut.reader)!);
  };
  return {
    plan,
    result: (written) => ({ spec, weights: written }),
    async read(written, name) {
      const cut = cuts.get(name), stored = await readTensor(written, name);
      if (!cut) return stored;
      const columns = kept.get(cut.reader)!;
      return cut.axis === "rows"
        ? placeRows(stored, columns, await readTensor(weights, name))
        : placeColumns(stored, columns, weights.info(name).shape[1]);
    },
    wrap: (source) => maskedColumns(source, (name, columns) => void kept.set(name, columns)),
    async storedLayer(layer, weight) {
      const tensors = new Map<string, HostTensor>();
      for (const [name, { reader }] of cuts) {
        if (reader !== layer) continue;
        tensors.set(name, storedTensor(name, name === layer ? weight : await readTensor(weights, name)));
      }
      return tensors;
    },
    storedTensor,
    keptColumns: (name) => kept.get(name),
  };
}
