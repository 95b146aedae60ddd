/** The observers of the activations of a block that `Forward` runs. */

import type { DeviceBuffer } from "../device/backend.ts";
import type { Batch } from "./batches.ts";
import type { TensorSource } from "./checkpoint/tensor_source.ts";
import type { StatesObserver } from "./hidden_states/hidden_states.ts";
import type { LinearGroup } from "./layer_specs.ts";
import type { ExpertObserver, InputObserver, ObservedResidual } from "./pieces/block_pass.ts";

/** The observers of a block that runs. */
export interface BlockObservers {
  /** Receives the inputs of the block's linear layers. */
  readonly observeInput?: InputObserver;
  readonly observeExpert?: ExpertObserver;
  /** Receives the outputs of some batches. */
  readonly observer?: StatesObserver;
}

/** Options for observing a block. */
export interface ObserveOptions {
  /** Called before each batch, which waits for it. It may read what the observers of the earlier batches have computed. */
  readonly beforeBatch?: (batch: Batch) => Promise<void>;
  /** Called after each batch. */
  readonly onBatchDone?: (batch: Batch) => void;
  /** The weights of the block. @default the weights of the model */
  readonly source?: TensorSource;
  /**
   * Observes the dense stream, which runs through the dense block. For each batch, its calls come after the calls for the other stream. In
   * a mixture, the tokens of the dense stream take the routes of the other stream, so that each expert has the same tokens in both.
   */
  readonly dense?: DenseObservers;
  /** The groups whose inputs are of use. Layers of experts that these groups do not need are not computed. @default all groups */
  readonly groups?: { has(group: LinearGroup): boolean };
  /** Whether every token goes to every expert of a mixture. @default false */
  readonly routesToAll?: boolean;
}

/** Receives the arguments of an {@link InputObserver}, and the batch of the inputs. */
export type BatchObserver = (
  group: LinearGroup,
  input: DeviceBuffer,
  rows: number,
  batch: Batch,
  residual?: ObservedResidual,
) => void;

/** Observes the dense stream while the block runs. */
export interface DenseObservers {
  readonly observeInput: BatchObserver;
  /** Receives the residual stream after each layer that adds its outputs to it without a norm. */
  readonly observeOutput: (group: LinearGroup, residual: ObservedResidual, batch: Batch) => void;
  /**
   * Whether the outputs of the block replace the states of the dense stream. They are wrong in a mixture of experts, where the stream has
   * the routes of the other stream.
   */
  readonly advances: boolean;
}
