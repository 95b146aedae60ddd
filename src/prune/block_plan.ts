/**
 * Plans the pruning of a model: which layers of each block are still to be pruned, and the calibration rounds and
 * forward passes that they take. Planning reads no weights.
 */

import type { ModelSpec } from "../model/families/family.ts";
import { type LinearGroup, type LinearSpec, stagesOf } from "../model/layer_specs.ts";
import type { Model } from "../model/model.ts";
import type { BlockOptions } from "../protocol/run/options.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { NamedLayer } from "./choose_layers.ts";

export interface NameSet {
  has(name: string): boolean;
}

export interface PlanOptions extends Partial<Omit<BlockOptions, "target" | "activations">> {
  /** Names of the weights to prune. @default the weights of all linear layers in the blocks */
  readonly layers?: NameSet;
  /** The weights that an earlier run has pruned. */
  readonly finished?: NameSet;
  /**
   * Whether each layer gets a target (see `TargetStatistics`), for which the windows also run through the dense blocks.
   * @default false
   */
  readonly hasTargets?: boolean;
  /**
   * Whether the layer `name` is rounded. If a block is reconstructed and has such a layer, its layers are solved twice:
   * without rounding before the reconstruction, and with the zeros of the first solution after it. @default no layer is
   */
  readonly isRounded?: (name: string) => boolean;
  /** The blocks that an earlier run has reconstructed. */
  readonly reconstructed?: { has(block: number): boolean };
  /** The blocks whose output error an earlier run has measured. By default, no error is to be measured. */
  readonly measured?: { has(block: number): boolean };
  /** Whether the outputs of the last block are needed too, because another plan begins after it. @default false */
  readonly runsLast?: boolean;
}

/** A group of layers that share one input, with the layers that are still to be pruned. */
export interface PendingGroup {
  readonly group: LinearGroup;
  /** The layers to prune, at least one. */
  readonly layers: readonly PendingLayer[];
}

export interface PendingLayer {
  /** The name of its weight in the checkpoint. */
  readonly name: string;
  readonly linear: LinearSpec;
}

/**
 * A pass of all windows through one block. `observe` adds up statistics, `train` is one epoch of a reconstruction, and
 * `run` computes the inputs of the next block.
 */
export type Pass = "observe" | "train" | "run";

/** The plan for one model. */
export class BlockPlan {
  /** Index of the last block with a chosen layer, or −1 without chosen layers. Later blocks need no forward pass. */
  readonly lastBlock: number;
  readonly layerCount: number;
  /** Whether no layer is to be pruned, and no block to be reconstructed or measured. */
  readonly isEmpty: boolean;
  readonly #blocks: ReadonlySet<number>;

  constructor(private readonly spec: ModelSpec, private readonly options: PlanOptions) {
    const chosen = linearLayers(spec).filter(({ name }) => options.layers?.has(name) ?? true);
    this.lastBlock = chosen.at(-1)?.block ?? -1;
    this.layerCount = chosen.filter(({ name }) => !options.finished?.has(name)).length;
    this.#blocks = new Set(chosen.map(({ block }) => block));
    this.isEmpty = ![...this.#blocks].some((block) => this.isOpen(block));
  }

  /** Whether `block` has a layer to prune, or is still to be reconstructed or measured. */
  isOpen(block: number): boolean {
    const isUnmeasured = this.#blocks.has(block) && this.options.measured?.has(block) === false;
    return isUnmeasured || this.epochs(block) > 0 || this.rounds(block).length > 0;
  }

  /** Whether the outputs of `block` are needed. */
  runs(block: number): boolean {
    return block < this.lastBlock || this.options.runsLast === true;
  }

  /** Returns all groups of `block` with chosen layers, divided into calibration rounds. */
  allRounds(block: number): PendingGroup[][] {
    return this.rounds(block, new Set());
  }

  /**
   * Returns the pending groups of `block`, divided into calibration rounds.
   * @param finished the layers that are not pending
   */
  rounds(block: number, finished: NameSet | undefined = this.options.finished): PendingGroup[][] {
    const { layers, trueSequential, expertsAtOnce } = this.options;
    const isPending = (name: string) => (layers?.has(name) ?? true) && !finished?.has(name);
    const pendingOf = (groups: readonly LinearGroup[]): PendingGroup[] =>
      groups.map((group) => {
        const layers = group.map((linear) => ({ name: this.#name(block, linear), linear }));
        return { group, layers: layers.filter(({ name }) => isPending(name)) };
      }).filter(({ layers }) => layers.length > 0);
    const { groups } = this.spec.block(block);
    const rounds = trueSequential ? stagesOf(groups).map(pendingOf) : [pendingOf(groups)];
    const parts = expertsAtOnce === undefined
      ? rounds
      : rounds.flatMap((round) => partsOf(round, groups, expertsAtOnce));
    return parts.filter((round) => round.length > 0);
  }

  /** Returns the names of the weights of `block` that an earlier run has pruned. */
  finished(block: number): string[] {
    const names = this.spec.block(block).groups.flat().map((linear) => this.#name(block, linear));
    return names.filter((name) => this.options.finished?.has(name));
  }

  /** Whether the run trains its blocks. True even if an earlier run has trained all of them. */
  get trains(): boolean {
    return (this.options.reconstruct ?? 0) > 0;
  }

  /** Returns the pruned weights that a round sees in place of dense ones. These are all pruned weights with `trueSequential`, and otherwise none. */
  seen(replaced: ReadonlyMap<string, HostTensor>): ReadonlyMap<string, HostTensor> {
    return this.options.trueSequential ? new Map(replaced) : new Map();
  }

  /** Returns the number of epochs in which `block` is still to be reconstructed. */
  epochs(block: number): number {
    const { reconstruct = 0, reconstructed } = this.options;
    return this.#blocks.has(block) && !reconstructed?.has(block) ? reconstruct : 0;
  }

  /** Whether `block` is still to be reconstructed, and its layers are rounded after it. */
  isRoundedLast(block: number): boolean {
    const { isRounded } = this.options;
    return this.epochs(block) > 0 && isRounded !== undefined && this.chosenLayers(block).some(isRounded);
  }

  /** Returns the names of all chosen layers in the blocks that are rounded last. */
  layersRoundedLast(): Set<string> {
    const blocks = [...this.#blocks].filter((block) => this.isRoundedLast(block));
    return new Set(blocks.flatMap((block) => this.chosenLayers(block)));
  }

  /**
   * Whether the last observing pass of `block` can also take the dense stream through the block. In a block with experts it cannot, because
   * the dense stream takes the routes of the pruned stream in that pass.
   */
  advancesDense(block: number): boolean {
    return this.options.hasTargets === true &&
      this.spec.block(block).groups.every(([{ expertRole }]) => expertRole === undefined);
  }

  /** Whether the dense stream runs through `block` in a pass of its own, for another block or a reconstruction. */
  runsDense(block: number): boolean {
    const isUsed = this.runs(block) || this.epochs(block) > 0;
    const isObserved = this.isRoundedLast(block) || this.rounds(block).length > 0;
    return this.options.hasTargets === true && isUsed && !(this.advancesDense(block) && isObserved);
  }

  /**
   * Lists the passes through the blocks from `firstBlock` to the last. Each round takes one pass, or two if the block is
   * rounded last. Each epoch takes one pass. Each block whose outputs are needed takes one more pass, which computes the
   * inputs of the next block. With targets, the dense stream may take one too (`runsDense`).
   */
  passes(firstBlock: number): Pass[] {
    const passes: Pass[] = [];
    for (let block = firstBlock; block <= this.lastBlock; block++) {
      const pending = this.rounds(block), isRoundedLast = this.isRoundedLast(block);
      for (const _ of isRoundedLast ? this.allRounds(block) : pending) passes.push("observe");
      if (this.runsDense(block)) passes.push("run");
      for (let epoch = 0; epoch < this.epochs(block); epoch++) passes.push("train");
      for (const _ of isRoundedLast ? pending : []) passes.push("observe");
      if (this.runs(block)) passes.push("run");
    }
    return passes;
  }

  /** Returns the names of all chosen layers of `block`. */
  chosenLayers(block: number): string[] {
    return this.allRounds(block).flat().flatMap(({ layers }) => layers.map(({ name }) => name));
  }

  #name(block: number, linear: LinearSpec): string {
    return weightName(this.spec, block, linear);
  }
}

/** Divides a round into parts with the groups of at most `count` experts, and a part with all groups that belong to no expert. */
function partsOf(
  round: readonly PendingGroup[],
  groups: readonly LinearGroup[],
  count: number,
): PendingGroup[][] {
  const numbers = new Map(stagesOf(groups).flatMap((stage) => stage.map((group, number) => [group, number])));
  const partOf = ({ group }: PendingGroup) =>
    group[0].expertRole === undefined ? -1 : Math.floor(numbers.get(group)! / count);
  const parts = Map.groupBy(round, partOf);
  return [...parts.values()];
}

export interface SizedLayer extends NamedLayer {
  readonly linear: LinearSpec;
  readonly rows: number;
  readonly cols: number;
}

/** Lists all linear layers of a model's blocks in the order of the forward pass. */
export function linearLayers(spec: ModelSpec): SizedLayer[] {
  return Array.from({ length: spec.blockCount }, (_, block) => {
    return spec.block(block).groups.flat().map((linear) => ({
      name: weightName(spec, block, linear),
      block,
      linear,
      rows: linear.outFeatures,
      cols: linear.inFeatures,
    }));
  }).flat();
}

/** Whether all linear layers of the blocks are stored in bfloat16. */
export function storesBfloat16({ spec, weights }: Model): boolean {
  return linearLayers(spec).every(({ name }) => weights.has(name) && weights.info(name).dtype === "BF16");
}

export function weightName(spec: ModelSpec, block: number, linear: LinearSpec): string {
  return `${spec.block(block).prefix(block)}${linear.name}.weight`;
}
