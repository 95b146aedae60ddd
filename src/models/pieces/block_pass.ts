/**
 * The context of a forward pass while one transformer block runs on one batch of windows. It has the weights of the block, the
 * memory for activations, and the observer that receives the inputs of linear layers. Every piece has it as a parameter.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { ACTIVATION_CODE } from "../../kernels/activate.ts";
import type { DeviceWeights } from "../device_weights.ts";
import type { LinearGroup } from "../layer_specs.ts";
import type { ForwardWorkspace } from "../forward_workspace.ts";

/** An element-wise function that is applied to the outputs of a linear layer. */
export type Activation = keyof typeof ACTIVATION_CODE;

/**
 * Called with the input of a group of linear layers, (rows, inFeatures) f32, before the layers are queued. Commands that read
 * the input must be queued during the call, because its memory is reused.
 */
export type InputObserver = (group: LinearGroup, input: DeviceBuffer, rows: number) => void;

/** A block that runs on a batch. Row w·tokens + t of an activation belongs to token t of window w. */
export interface BlockPass {
  readonly backend: Backend;
  readonly weights: DeviceWeights;
  readonly workspace: ForwardWorkspace;
  /** The number of windows in the batch. */
  readonly windows: number;
  /** The number of tokens in every window. */
  readonly tokens: number;
  /** The number of rows of an activation, windows · tokens. */
  readonly rows: number;
  /** By default, no inputs are observed. */
  readonly observeInput?: InputObserver;
  /** A group that is not computed, because its outputs are not used. Its input is still passed to `observeInput`. */
  readonly skippedGroup?: LinearGroup;
}
