/** The types of a block that a host has pruned. */

import type { HostTensor, QuantizedWeight } from "../../tensor/host_tensor.ts";
import type { Report } from "../messages.ts";

/** A layer of a pruned block. */
export interface SolvedBlockLayer {
  /** Name of the weight in the checkpoint. */
  readonly name: string;
  /** The number of calibration tokens that reached the layer, if only some of the tokens do. */
  readonly tokens?: number;
  /** The report of the solve. */
  readonly report: Report;
  /** The new weights, (outFeatures, inFeatures). */
  readonly weight: HostTensor;
  /** One bit per weight, 1 where the weight was not pruned: (outFeatures, ⌈inFeatures/8⌉), U8, least significant bit first. */
  readonly mask: HostTensor;
  /**
   * Random combinations of the calibration inputs, P: F32 [k, inFeatures]. Pᵀ·P estimates the statistics of the report. Absent if the layer
   * was rounded after a reconstruction, because its report then compares it with the trained weights.
   */
  readonly probe?: HostTensor;
  /** The codes and the grids of the weights, if they were rounded. */
  readonly quantized?: QuantizedWeight;
}

/** The decision whether the layers of a block keep their targets. */
export interface TargetDecision {
  /** Whether they keep them. */
  readonly areKept: boolean;
  /** The errors of both solutions on the held-out windows, against the block in the dense model. */
  readonly errors: { readonly withTargets: number; readonly without: number };
}

/** A block that was trained after its layers were pruned. */
export interface ReconstructedBlock {
  /** The number of epochs. */
  readonly epochs: number;
  /** The error of the block before, on the windows that choose the epoch. */
  readonly before: number;
  /** The error after the training. */
  readonly after: number;
  /** The epoch whose parameters the block has. With 0, the block has not changed. */
  readonly keptEpoch: number;
  /** The seconds of the training. */
  readonly seconds: number;
  /** The trained tensors, as they are stored. Empty if the block has not changed. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** The numbers of tokens in the stored statistics of a layer. */
export interface SumTokens {
  /** Name of the weight in the checkpoint. */
  readonly name: string;
  /** The number of tokens of fitted windows. */
  readonly tokens: number;
  /** The number of tokens of windows that are held out. */
  readonly validation_tokens: number;
}

/** A block that a host has pruned, or whose statistics it has stored. */
export interface SolvedBlock {
  /** The pruned layers. */
  readonly layers: readonly SolvedBlockLayer[];
  /** The error of the output of the block on the held-out windows, if there are any. */
  readonly error?: number;
  /** Whether the layers have their targets, if the held-out windows decided it. */
  readonly decision?: TargetDecision;
  /** The reconstruction of the block, if there was one. */
  readonly reconstructed?: ReconstructedBlock;
  /** The numbers of tokens in the statistics of each layer, if they were only stored. */
  readonly sums?: readonly SumTokens[];
}
