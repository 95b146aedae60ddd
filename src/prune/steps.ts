/** The steps of a run: `BlockStates` collects statistics and runs the windows, and `RoundSolver` solves the layers. */

import type { ReconstructedBlock } from "../protocol/blocks/solved_block.ts";
import type { QueryOf, SolveRound } from "../protocol/run/solve_round.ts";
import type { HessianAccumulator } from "../layer/calibration/hessian.ts";
import type { ForwardMemory } from "../model/plan_forward.ts";
import type { HiddenStatesStorage } from "../model/hidden_states/hidden_states.ts";
import type { Model } from "../model/model.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import type { BlockPlan, PendingGroup, PlanOptions } from "./block_plan.ts";
import type { CalibrationStep } from "./calibration_steps.ts";
import type { CollectedRound, OpenBlock } from "./open_block.ts";
import type { StatisticsOptions } from "./round_statistics.ts";

/** The groups of layers that are calibrated together. */
export interface Round {
  readonly groups: readonly PendingGroup[];
  /** Whether the layers of the round get targets. */
  readonly hasTargets: boolean;
  /** Whether the pass of the round also runs the states of the dense model through the block. */
  readonly advancesDense: boolean;
}

/** The hidden states of all windows, in this process or at hosts. With targets, also the states of the dense model. */
export interface BlockStates {
  readonly plan: BlockPlan;
  /** The blocks that the run visits, in order. */
  readonly blocks: readonly number[];
  /** Opens a block, with the tensors that an earlier process has stored. */
  open(block: number): Promise<OpenBlock>;
  /** Runs the windows through the block, and adds up the statistics of a round. */
  collect(open: OpenBlock, round: Round): Promise<CollectedRound>;
  /** Returns the error of the output of the block with the weights of `solution`, compared with the dense model on the held-out windows. */
  measure(open: OpenBlock, solution: ReadonlyMap<string, HostTensor>): Promise<number>;
  /** Runs the states of the dense model through the block. Absent if they run through it together with the pruned states. */
  runDense?(): Promise<void>;
  /** Trains a block whose layers are pruned (see `reconstructBlock`). Adds the trained tensors to `open.replaced`. */
  train(open: OpenBlock, epochs: number): Promise<ReconstructedBlock | undefined>;
  /**
   * Runs the states through the pruned block, if the run needs its outputs.
   * @returns the error of the outputs of the held-out windows, if `measures` asks for it and no earlier process has measured it
   */
  advance(open: OpenBlock, measures: boolean): Promise<number | undefined>;
  /** Stores the states after the block. If the process is killed before, the error is measured again. Absent if `advance` stores the states. */
  store?(): Promise<void>;
  /** Ends a run whose layers are all stored. */
  end?(): Promise<void>;
  /** Frees the states in this process. */
  destroy(): void;
}

/** Solves layers, in this process or at servers. */
export interface RoundSolver {
  /** Yields each layer of a round as soon as it is solved. While the caller stores it, the next one is solved. */
  readonly solveRound: SolveRound<HessianAccumulator>;
  /** Returns states in the place of `LocalStates`, for example if another machine has them. */
  begin?(run: CalibrationRun): BlockStates;
}

/** The facts of a run that its states depend on. */
export interface CalibrationRun {
  readonly model: Model;
  readonly options: CalibrationOptions;
  /** Returns the parameters of a layer, without `token_weights`, which `options` has. */
  readonly queryOf: QueryOf;
}

export interface CalibrationOptions extends StatisticsOptions, PlanOptions {
  /** Whether a reconstruction trains the weight `name`. @default the pruned weights are trained */
  readonly isTrained?: (name: string) => boolean;
  /**
   * Where the hidden states between blocks are stored. If a folder is given, a run that was killed resumes from the
   * last block whose hidden states are in the folder. The run that stored them must have pruned the layers in
   * `finished`.
   */
  readonly hiddenStates?: HiddenStatesStorage;
  readonly progress?: (step: CalibrationStep) => void;
  readonly memory?: ForwardMemory;
  /** Ends the calibration after the current batch. */
  readonly signal?: AbortSignal;
  /** Reads a layer in `finished` or a trained tensor as it is stored. */
  readonly readFinished?: (name: string) => Promise<HostTensor>;
  /** The names of the trained tensors of the blocks that an earlier run has reconstructed. */
  readonly reconstructed?: ReadonlyMap<number, readonly string[]>;
}
