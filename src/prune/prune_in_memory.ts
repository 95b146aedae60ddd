/** One way to prune a whole model, the outcome in host memory: no checkpoint is written. */

import type { Model } from "../models/model.ts";
import { asReplacement } from "../checkpoint/replacement.ts";
import { overlay, readTensor } from "../checkpoint/tensor_source.ts";
import { linearLayers } from "./block_plan.ts";
import { calibratedModel } from "./prune_model.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { Backend } from "../backend/backend.ts";
import type { Pare } from "../client/pare.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";

/** What is pruned, and where. */
export interface PruneSetting {
  readonly model: Model;
  /** Runs the model's forward for the calibration. */
  readonly backend: Backend;
  readonly pare: Pick<Pare, "pruneLayer" | "pruneModel">;
  /** Calibration windows, token ids. */
  readonly windows: readonly Uint32Array[];
  readonly signal: AbortSignal;
  /** Told of layers done. */
  progress(done: number, total: number): void;
}

/** `setting.model` with its linear layers pruned as `query` says. */
export async function pruneInMemory(
  query: LayerQuery,
  setting: PruneSetting,
): Promise<Model> {
  const { spec, weights } = setting.model;
  const replaced = new Map<string, HostTensor>();
  const { signal, progress, pare, backend } = setting;
  if (query.method === "magnitude") {
    // It needs no statistics, and calibrating is most of the work.
    const layers = linearLayers(spec);
    for (const [i, { name }] of layers.entries()) {
      const pruned = await pare.pruneLayer({ weight: await readTensor(weights, name) }, query, { signal });
      replaced.set(name, asReplacement(weights, name, pruned.weight));
      progress(i + 1, layers.length);
    }
  } else {
    const source = calibratedModel(setting.model, backend, {
      windows: setting.windows,
      signal,
      onReplace: (name, weight) => {
        replaced.set(name, weight);
        return Promise.resolve();
      },
    });
    for await (const event of pare.pruneModel(source, query, { signal })) {
      if (event.type === "layer") progress(event.done, source.layerCount);
    }
  }
  return { spec, weights: overlay(weights, replaced) };
}
