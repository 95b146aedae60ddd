/** What is to be done in each block of a model: which layers are still to prune, and how often its windows pass through it. */

import type { ModelSpec } from "../models/families/family.ts";
import type { LinearGroup, LinearSpec } from "../models/families/layer_specs.ts";
import type { NamedLayer } from "./choice.ts";

/** Names, of which it is asked whether they are among them. */
export interface NameSet {
  has(name: string): boolean;
}

/** What of a model is pruned. */
export interface PlanOptions {
  /** The layers to prune; all unless given. */
  readonly layers?: NameSet;
  /** Those of them that are done. */
  readonly finished?: NameSet;
  /** Each group is calibrated behind the pruned ones before it in its block, as the published code's option. */
  readonly trueSequential?: boolean;
}

/** A group with the layers of it that are to be pruned. */
export interface PendingGroup {
  readonly group: LinearGroup;
  /** By the names of their weights; not empty. */
  readonly names: readonly string[];
}

/** The plan for a model. */
export class BlockPlan {
  /** The last block in which a layer was chosen: no window needs to pass it, or any after it. −1 where none was. */
  readonly lastBlock: number;
  /** Layers still to prune. */
  readonly layerCount: number;
  readonly #spec: ModelSpec;
  readonly #options: PlanOptions;

  constructor(spec: ModelSpec, options: PlanOptions) {
    this.#spec = spec;
    this.#options = options;
    const chosen = linearLayers(spec).filter(({ name }) => options.layers?.has(name) ?? true);
    this.lastBlock = chosen.at(-1)?.block ?? -1;
    this.layerCount = chosen.filter(({ name }) => !options.finished?.has(name)).length;
  }

  /** The groups of `block` to be handed out, in the rounds they can be: those of a round are calibrated by one forward. */
  rounds(block: number): PendingGroup[][] {
    const { layers, finished, trueSequential } = this.#options;
    const isPending = (name: string) => (layers?.has(name) ?? true) && !finished?.has(name);
    const pending = this.#spec.block.groups
      .map((group) => ({ group, names: group.map((linear) => this.#name(block, linear)).filter(isPending) }))
      .filter(({ names }) => names.length > 0);
    if (trueSequential) return pending.map((group) => [group]);
    return pending.length === 0 ? [] : [pending];
  }

  /** The layers of `block` that are done. */
  finished(block: number): string[] {
    const names = this.#spec.block.groups.flat().map((linear) => this.#name(block, linear));
    return names.filter((name) => this.#options.finished?.has(name));
  }

  /** How often all windows pass through a block, from `firstBlock` to the end. */
  passes(firstBlock: number): number {
    let passes = 0;
    for (let block = firstBlock; block <= this.lastBlock; block++) {
      passes += this.rounds(block).length + (block < this.lastBlock ? 1 : 0);
    }
    return passes;
  }

  #name(block: number, linear: LinearSpec): string {
    return weightName(this.#spec, block, linear);
  }
}

/** Every linear layer of a model's blocks, in the order of the forward. */
export function linearLayers(spec: ModelSpec): NamedLayer[] {
  return Array.from({ length: spec.blockCount }, (_, block) => {
    return spec.block.groups.flat().map((linear) => ({ name: weightName(spec, block, linear), block }));
  }).flat();
}

function weightName(spec: ModelSpec, block: number, linear: LinearSpec): string {
  return `${spec.block.prefix(block)}${linear.name}.weight`;
}
