/** The types of pruning a whole model: the job, its services, and the destination of the pruned layers. */

import type { Backend } from "../../device/backend.ts";
import type { TokenWeights } from "../../layer/calibration/hessian.ts";
import type { ReconstructedBlock, TargetDecision } from "../../protocol/blocks/solved_block.ts";
import type { LayerEvent, RoundLayer } from "../../protocol/run/solve_round.ts";
import type { HiddenStatesFolder } from "../../model/hidden_states/hidden_states_folder.ts";
import type { Model } from "../../model/model.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { BlockOptions } from "../../protocol/run/options.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { Allocation, AllocationRequest } from "../allocation/allocation.ts";
import type { PlanOptions } from "../block_plan.ts";
import type { CalibrationStep } from "../calibration_steps.ts";
import type { RoundSolver } from "../steps.ts";
import type { StatisticsOptions } from "../round_statistics.ts";
import type { Lap } from "./lap_clock.ts";

/**
 * How much each token counts in the statistics of a run whose layers do not say it. Pretrained models have a few tokens that would
 * outweigh all others (`TokenWeights`).
 */
export const DEFAULT_TOKEN_WEIGHTS: TokenWeights = "unit";

/** The model to prune, and how. */
export interface PruneJob
  extends
    Partial<BlockOptions>,
    Pick<PlanOptions, "layers" | "runsLast">,
    Pick<StatisticsOptions, "windows" | "validationWindows"> {
  readonly model: Model;
  /** Whether the layers get statistics. Methods that need none are faster without. All layers are then pruned. @default true */
  readonly isCalibrated?: boolean;
  /** The number of windows of each text on which the destination measures the perplexity. @default [] */
  readonly evaluatedWindows?: readonly number[];
  /** Returns the parameters of the layer `name`. */
  queryOf(name: string): LayerQuery;
  /** The layers whose sparsities are chosen before the first layer is pruned. By default `queryOf` has all sparsities. */
  readonly allocation?: AllocationRequest;
  /** Whether a reconstruction also trains the weights of the layers that are not pruned. @default false */
  readonly trainsAllWeights?: boolean;
}

/** Returns the number of all windows, with the held-out ones. */
export function countWindows({ windows, validationWindows = [] }: PruneJob): number {
  return windows.length + validationWindows.length;
}

/** The devices and callbacks of a run. */
export interface PruneServices {
  /** Runs the forward passes of the calibration. Absent if the solver begins states of its own, in a job without an allocation. */
  readonly backend?: Backend;
  /** Solves the layers. */
  readonly pruner: RoundSolver;
  readonly signal?: AbortSignal;
  /**
   * Called at the start with the number of layers that earlier processes finished, and then after each layer. `secondsLeft` is the time
   * that the run needs until its result is written. It is undefined as long as no layer is solved.
   */
  onLayerDone?(done: number, total: number, event?: LayerEvent, secondsLeft?: number): void;
  /** Called after each step of the measurements for the allocation. `total` is the number of all steps. */
  onAllocationStep?(done: number, total: number): void;
  /** Called after each step of the calibration. */
  onCalibrationStep?(step: CalibrationStep, secondsLeft?: number): void;
  /** Called after each reconstruction. */
  onReconstruct?(block: number, reconstructed: ReconstructedBlock): void;
}

/** Receives the pruned layers of one run. */
export interface Destination<Result> {
  /** Opens the destination, calls `prune` unless it has all layers already, and returns the result. */
  fill(prune: (open: OpenDestination) => Promise<void>): Promise<Result>;
}

/** A destination that is ready for layers. */
export interface OpenDestination {
  /** The layers that an earlier process has pruned, and a function that reads them and the trained tensors. */
  readonly finished?: ReadonlySet<string>;
  readonly readFinished?: (name: string) => Promise<HostTensor>;
  /** The names of the trained tensors of the blocks that an earlier process has reconstructed. */
  readonly reconstructed?: ReadonlyMap<number, readonly string[]>;
  /** The blocks whose output error an earlier process has recorded. */
  readonly measured?: ReadonlySet<number>;
  /** By block, whether its layers keep their targets, as an earlier process has decided. */
  readonly decided?: ReadonlyMap<number, boolean>;
  /** Where the hidden states are stored. By default, in memory. */
  readonly states?: HiddenStatesFolder;
  /** Returns the allocation of an earlier process, or calls `choose` and records its result. @default calls `choose` */
  allocation?(choose: (states?: HiddenStatesFolder) => Promise<Allocation>): Promise<Allocation>;
  /**
   * Stores what an answer has besides the weight, and returns the weight that takes the place of the layer in the model: (outFeatures,
   * inFeatures). @default the weight of the answer
   */
  takeAnswer?(layer: RoundLayer): Promise<HostTensor>;
  /** Stores a pruned weight, which has the dtype of the checkpoint. Its memory may be freed after its block. */
  replace(name: string, weight: HostTensor): Promise<void>;
  /** Records the error of the output of a pruned block on the held-out windows. By default, it is not measured. */
  recordBlockError?(block: number, error: number): Promise<void>;
  /** Records a decision about the targets of a block, before its layers are stored. By default, it is not recorded. */
  recordDecision?(block: number, decision: TargetDecision): Promise<void>;
  /**
   * Stores the tensors of a reconstructed block, whose memory may be freed afterwards, and records the reconstruction. By default,
   * they are not stored.
   */
  recordReconstruction?(block: number, reconstructed: ReconstructedBlock): Promise<void>;
  /** Records a layer whose weight is stored. */
  record?(event: LayerEvent, lap: Lap): Promise<void>;
}
