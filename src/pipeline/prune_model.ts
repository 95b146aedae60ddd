/**
 * A checkpoint as a source of layers to prune, calibrated as the SparseGPT paper does it, block by block: one forward of all
 * calibration windows through the dense block accumulates the Hessian of each linear layer's input; its layers are
 * handed out and replaced; a second forward, through the pruned block, makes the inputs of the next. Pruning
 * itself is the consumer's, here or over HTTP.
 */

import type { Backend } from "../backend/backend.ts";
import { HessianAccumulator } from "../calibration/hessian.ts";
import type { LayerGroup, ModelSource, SourceLayer } from "../client/model_source.ts";
import { countLayers, type LinearGroup } from "../models/families/family.ts";
import { Forward, type ForwardMemory } from "../models/forward.ts";
import type { Model } from "../models/model.ts";
import { asReplacement } from "../models/replacement.ts";
import { overlay, readTensor } from "../models/tensor_source.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";

/** What a model is calibrated on, and who hears of it. */
export interface CalibrationOptions {
  /** Token ids, all windows of one length. */
  readonly windows: readonly Uint32Array[];
  /** Is handed each replacement, in the dtype of the original: writes the pruned checkpoint. */
  readonly onReplace?: (name: string, weight: HostTensor) => Promise<void>;
  /** Told how much of the forwards is done: `total` steps are a batch of windows through a block. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  /** Checked between batches. */
  readonly signal?: AbortSignal;
}

/**
 * The layers of `model` with their statistics.
 * Its `groups` throws RangeError for windows the model cannot take, Error where a layer was not replaced.
 */
export function calibratedModel(model: Model, backend: Backend, options: CalibrationOptions): ModelSource {
  return { layerCount: countLayers(model.spec), groups: () => groups(model, backend, options) };
}

async function* groups(
  model: Model,
  backend: Backend,
  options: CalibrationOptions,
): AsyncGenerator<LayerGroup, void, undefined> {
  const { blockCount } = model.spec;
  const forward = await Forward.begin(backend, model, options.windows, options.memory);
  const step = stepCounter((2 * blockCount - 1) * forward.states.batches.length, options);
  try {
    for (let block = 0; block < blockCount; block++) {
      const hessians = await accumulate(forward, block, step);
      const replaced = new Map<string, HostTensor>();
      try {
        for (const [group, hessian] of hessians) {
          const layers = await readLayers(model, block, group);
          const handed = new HandedGroup(
            block,
            await hessian.packedUpper(),
            layers,
            model,
            replaced,
            options,
          );
          hessian.destroy();
          yield handed;
          handed.close();
        }
      } finally {
        for (const hessian of hessians.values()) hessian.destroy();
      }
      // Nothing comes after the last block's outputs.
      if (block < blockCount - 1) await forward.runBlock(block, step, overlay(model.weights, replaced));
    }
  } finally {
    forward.destroy();
  }
}

/** The Hessians of a block's groups, in order, from a forward with its dense weights. */
async function accumulate(
  forward: Forward,
  block: number,
  step: () => void,
): Promise<Map<LinearGroup, HessianAccumulator>> {
  const hessians = new Map<LinearGroup, HessianAccumulator>();
  try {
    for (const group of forward.model.spec.block.groups) {
      const [{ name, inFeatures }] = group;
      hessians.set(group, new HessianAccumulator(forward.backend, `hessian ${name}`, inFeatures));
    }
    await forward.observeBlock(block, (group, x, rows) => hessians.get(group)?.add(x, rows), step);
  } catch (error) {
    for (const hessian of hessians.values()) hessian.destroy();
    throw error;
  }
  return hessians;
}

function readLayers({ spec, weights }: Model, block: number, group: LinearGroup): Promise<SourceLayer[]> {
  return Promise.all(group.map(async (linear) => {
    const name = `${spec.block.prefix(block)}${linear.name}.weight`;
    return { name, weight: await readTensor(weights, name) };
  }));
}

/** A group in the consumer's hands. */
class HandedGroup implements LayerGroup {
  #open = true;

  constructor(
    readonly block: number,
    readonly hessian: HostTensor,
    readonly layers: readonly SourceLayer[],
    readonly model: Model,
    /** Receives the replacements. */
    readonly replaced: Map<string, HostTensor>,
    readonly options: CalibrationOptions,
  ) {}

  async replace(name: string, weight: HostTensor): Promise<void> {
    if (!this.#open) throw new RangeError(`replace ${name}: the next group has been asked for`);
    if (!this.layers.some((layer) => layer.name === name)) {
      const names = this.layers.map((layer) => layer.name).join(", ");
      throw new RangeError(`replace ${name}: not a layer of this group, which are ${names}`);
    }
    // What the next block is calibrated on is what will be in the checkpoint.
    const replacement = asReplacement(this.model.weights, name, weight);
    await this.options.onReplace?.(name, replacement);
    this.replaced.set(name, replacement);
  }

  /** @throws {Error} a layer was not replaced */
  close(): void {
    this.#open = false;
    const missing = this.layers.find(({ name }) => !this.replaced.has(name));
    if (missing) throw new Error(`${missing.name}: was not replaced before the next group was asked for`);
  }
}

function stepCounter(total: number, { progress, signal }: CalibrationOptions): () => void {
  let done = 0;
  return () => {
    signal?.throwIfAborted();
    progress?.(++done, total);
  };
}
