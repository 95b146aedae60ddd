/**
 * The context in which one block runs on one batch of windows. All functions in this folder that queue kernels take it as their first
 * parameter.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { ACTIVATION_CODE } from "../../device/kernels/forward/activate.ts";
import type { DeviceWeights } from "../device_weights.ts";
import type { LinearGroup } from "../layer_specs.ts";
import type { ForwardWorkspace } from "../forward_workspace.ts";
import type { ColumnsView } from "./columns_view.ts";
import type { KeyValueCache } from "./key_value_cache.ts";
import type { Routes } from "./routing.ts";
import type { Tape } from "./tape.ts";

/** An element-wise function that is applied to the outputs of a linear layer. */
export type Activation = keyof typeof ACTIVATION_CODE;

/**
 * Called with the input that a group of linear layers shares, (rows, inFeatures) f32, before the layers are queued. Commands that read the
 * input must be queued during the call, because the memory of the input is reused. `residual` is given if the outputs of the only layer of
 * the group are added to the residual stream, times a factor.
 */
export type InputObserver = (
  group: LinearGroup,
  input: DeviceBuffer,
  rows: number,
  residual?: ObservedResidual,
) => void;

/**
 * Called with the outputs of an expert, (rows, cols) f32, before they are multiplied by the factors of the router. Row r belongs to entry
 * `routes.starts[expert]` + r of the routes. Experts without tokens have no call.
 */
export type ExpertObserver = (expert: number, routes: Routes, outputs: DeviceBuffer, cols: number) => void;

/**
 * Called after the only layer of a group has added its outputs to the residual stream. Commands that read the stream must be queued during
 * the call. There is no call if a norm is applied to the outputs, or if `skippedGroups` has the group.
 */
export type OutputObserver = (group: LinearGroup, residual: ObservedResidual) => void;

/** The residual stream before a layer adds its outputs to it, or after it. */
export interface ObservedResidual {
  /** (rows, outFeatures) f32. */
  readonly stream: DeviceBuffer;
  /** The factor of the outputs of the layer. */
  readonly scale: number;
  /** The bias of the layer, (outFeatures) f32, if it has one. */
  readonly bias?: DeviceBuffer;
}

/** A block that runs on a batch. Row w·tokens + t of an activation belongs to token t of window w. */
export interface BlockPass {
  readonly backend: Backend;
  readonly weights: DeviceWeights;
  readonly workspace: ForwardWorkspace;
  readonly windows: number;
  /** The number of tokens in every window. If there is a cache, the tokens in it are not counted. */
  readonly tokens: number;
  /** The number of rows of an activation, windows · tokens. */
  readonly rows: number;
  /**
   * The keys and values of earlier tokens, to which the block adds the keys and values of the pass. The batch then has one window.
   * Undefined if the pass has all tokens of its windows.
   */
  readonly cache?: KeyValueCache;
  /** The further inputs of the block (`ModelSpec.tokenInputs`), (rows, size) f32. */
  readonly tokenInputs?: DeviceBuffer;
  /** The keys and values that blocks share, one row per row of the pass. The blocks that compute them write them here. */
  readonly sharedKeys?: ColumnsView;
  /** Receives the inputs of linear layers. By default, nothing receives them. */
  readonly observeInput?: InputObserver;
  /** Receives the residual stream. By default, nothing receives it. */
  readonly observeOutput?: OutputObserver;
  /** Groups that are not computed, because their outputs are not used. Their inputs, if they are computed, are still observed. */
  readonly skippedGroups?: readonly LinearGroup[];
  /** Receives the routes of a mixture of experts, before its experts are queued. */
  readonly observeRoutes?: (routes: Routes) => void;
  /** Receives the outputs of the experts of a mixture. */
  readonly observeExpert?: ExpertObserver;
  /** The routes of a mixture of experts. By default, its router chooses them. */
  readonly routes?: Routes;
  /** Whether every token goes to every expert, so that each expert has inputs. The outputs of the pass are then of no use. */
  readonly routesToAll?: boolean;
  /** Records the pass, so that gradients can be computed. The pass then uses the workspace of the tape, and has no cache. */
  readonly tape?: Tape;
}
