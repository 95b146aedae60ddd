/** One way to prune a whole model, the outcome in host memory: no checkpoint is written. */

import type { Model } from "../../models/model.ts";
import { asReplacement } from "../../models/replacement.ts";
import { overlay, readTensor } from "../../models/tensor_source.ts";
import { linearLayers } from "../../pipeline/model/block_plan.ts";
import { calibratedModel } from "../../pipeline/model/prune_model.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { LocalHost } from "../local_host.ts";
import type { SweepPoint } from "./points.ts";

/** What is pruned, and where. */
export interface PruneSetting {
  readonly model: Model;
  readonly local: LocalHost;
  /** Calibration windows, token ids. */
  readonly windows: readonly Uint32Array[];
  readonly signal: AbortSignal;
  /** Told of layers done. */
  progress(done: number, total: number): void;
}

/** `setting.model` with its linear layers pruned as `point` says. */
export async function pruneInMemory(
  { method, pattern, sparsity }: SweepPoint,
  setting: PruneSetting,
): Promise<Model> {
  const { spec, weights } = setting.model;
  const query = { method, ...pattern === "unstructured" ? { sparsity } : { pattern }, error: false };
  const replaced = new Map<string, HostTensor>();
  const { signal, progress, local: { pare, backend } } = setting;
  if (method === "magnitude") {
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
