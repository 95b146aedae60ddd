/** Adds up the calibration statistics of the groups of a round, in one forward pass of all windows through a block. */

import { ResourceSet } from "../device/owned.ts";
import { tileEdgeOn } from "../device/tiled_matrix.ts";
import {
  type AccumulatorOptions,
  HessianAccumulator,
  type TokenWeights,
} from "../layer/calibration/hessian.ts";
import { TargetStatistics } from "../layer/calibration/target_statistics.ts";
import type { Batch } from "../model/batches.ts";
import type { TensorSource } from "../model/checkpoint/tensor_source.ts";
import type { Forward } from "../model/forward.ts";
import type { LinearGroup } from "../model/layer_specs.ts";
import { PART_WINDOWS } from "../protocol/limits.ts";
import type { PendingGroup, PendingLayer, PlanOptions } from "./block_plan.ts";
import type { GroupStatistics } from "./open_block.ts";

/** Returns how much each token counts in the statistics of the layer `name`. Layers with the same input must agree. */
export type TokenWeightsOf = (name: string) => TokenWeights | undefined;

export interface StatisticsOptions extends Pick<PlanOptions, "hasTargets" | "allExperts"> {
  /** With targets: whether the dense stream has the outputs of the block afterwards (see `DenseObservers`). @default false */
  readonly advancesDense?: boolean;
  /** Token ids of the windows, which all have the same length. */
  readonly windows: readonly Uint32Array[];
  /** Token ids of the held-out windows, as long as the others, for the validation Hessians. @default [] */
  readonly validationWindows?: readonly Uint32Array[];
  /** @default "none" for all layers */
  readonly tokenWeightsOf?: TokenWeightsOf;
  /** The number of random combinations of the fitted inputs of each layer (see `HessianAccumulator.probe`). @default 0 */
  readonly probes?: number;
  /**
   * Receives the sums of each part of {@link PART_WINDOWS} windows, which are then set to 0.
   * @default the parts are added up in order
   */
  readonly onPart?: (group: LinearGroup, kind: keyof GroupSums, part: HessianAccumulator) => Promise<void>;
}

/** The sums over the inputs of a group: those that are fitted, and those that are held out. */
export interface GroupSums {
  readonly fitted: HessianAccumulator;
  /** Undefined without held-out windows. */
  readonly heldOut?: HessianAccumulator;
}

/** A part of the windows, which are fitted or held out. */
interface Part {
  readonly kind: keyof GroupSums;
  readonly index: number;
}

/** The sums of the groups of a round. The caller destroys them. */
export class RoundStatistics {
  readonly #sums = new Map<LinearGroup, GroupSums>();

  private constructor() {}

  /**
   * Runs the windows through the block with `weights`.
   * @param onBatchDone called after each batch
   * @throws {RangeError} if layers with the same input ask for different token weights
   */
  static async accumulate(
    forward: Forward,
    round: readonly PendingGroup[],
    block: number,
    weights: TensorSource,
    onBatchDone: () => void,
    options: StatisticsOptions,
  ): Promise<RoundStatistics> {
    using unfinished = new ResourceSet();
    const statistics = unfinished.add(new RoundStatistics());
    statistics.#allocate(forward, round, options);
    await statistics.#observe(forward, block, weights, onBatchDone, options);
    unfinished.move();
    return statistics;
  }

  #allocate(
    forward: Forward,
    round: readonly PendingGroup[],
    { validationWindows = [], tokenWeightsOf, hasTargets = false, probes }: StatisticsOptions,
  ): void {
    const { backend } = forward, edge = tileEdgeOn(backend);
    for (const { group, layers } of round) {
      const tokenWeights = groupTokenWeights(layers, tokenWeightsOf), [{ name, inFeatures }] = group;
      const accumulator = (options: AccumulatorOptions) =>
        hasTargets
          ? new TargetStatistics(backend, group[0], edge, options)
          : new HessianAccumulator(backend, `hessian ${name}`, inFeatures, edge, options);
      const fitted = accumulator({ tokenWeights, probes });
      this.#sums.set(group, { fitted });
      if (validationWindows.length > 0) {
        this.#sums.set(group, { fitted, heldOut: accumulator({ tokenWeights }) });
      }
    }
  }

  async #observe(
    forward: Forward,
    block: number,
    weights: TensorSource,
    onBatchDone: () => void,
    { windows, hasTargets, advancesDense = false, allExperts, onPart }: StatisticsOptions,
  ): Promise<void> {
    const partOf = ({ first }: Pick<Batch, "first">): Part => {
      const isHeldOut = first >= windows.length, window = isHeldOut ? first - windows.length : first;
      return { kind: isHeldOut ? "heldOut" : "fitted", index: Math.floor(window / PART_WINDOWS) };
    };
    const sumOf = (group: LinearGroup, batch: Batch) => this.#sums.get(group)?.[partOf(batch).kind];
    let part = partOf({ first: 0 });
    const endPart = async (next?: Part) => {
      if (next?.kind === part.kind && next.index === part.index) return;
      for (const [group, { [part.kind]: sum }] of this.#sums) {
        if (!sum) continue;
        if (onPart) {
          await onPart(group, part.kind, sum);
          sum.clear();
        } else if (next?.kind === part.kind) sum.endPart();
        else sum.addParts();
      }
      if (next) part = next;
    };
    await forward.observeBlock(
      block,
      (group, x, rows, batch, residual) => sumOf(group, batch)?.add(x, rows, residual),
      {
        beforeBatch: (batch) => endPart(partOf(batch)),
        onBatchDone,
        source: weights,
        dense: hasTargets
          ? {
            advances: advancesDense,
            observeInput: (group, x, _rows, batch) => sumOf(group, batch)?.addDense(x),
            observeOutput: (group, residual, batch) => sumOf(group, batch)?.addOutput(residual),
          }
          : undefined,
        groups: this.#sums,
        routesToAll: allExperts,
      },
    );
    await endPart();
    // The layers are solved next, and a solve can use this memory.
    forward.freeActivations();
  }

  /**
   * Returns the statistics of a group of the round. If no token was routed to an expert, its Hessian is 0, with which a
   * solver would set all weights to 0. The identity replaces this Hessian, so that every solver prunes by magnitude. If
   * no held-out token was routed to an expert, the expert has no validation Hessian.
   */
  of(group: LinearGroup): GroupStatistics {
    const { fitted, heldOut } = this.#sums.get(group)!;
    if (group[0].expertRole === undefined) return { hessian: fitted, validationHessian: heldOut };
    if (fitted.tokens === 0) fitted.setIdentity();
    const validationHessian = heldOut?.tokens === 0 ? undefined : heldOut;
    return { tokens: fitted.tokens, hessian: fitted, validationHessian };
  }

  destroy(): void {
    for (const { fitted, heldOut } of this.#sums.values()) {
      fitted.destroy();
      heldOut?.destroy();
    }
  }
}

/** @throws {RangeError} if the layers to prune of a group, which share their statistics, ask for different weights */
function groupTokenWeights(
  layers: readonly PendingLayer[],
  tokenWeightsOf?: TokenWeightsOf,
): TokenWeights | undefined {
  const [first, ...others] = layers.map(({ name }) => ({ name, weights: tokenWeightsOf?.(name) ?? "none" }));
  const other = others.find(({ weights }) => weights !== first.weights);
  if (!other) return first.weights;
  throw new RangeError(
    `token_weights: ${first.name} has ${first.weights} and ${other.name} has ${other.weights}, but both layers have the same inputs`,
  );
}
