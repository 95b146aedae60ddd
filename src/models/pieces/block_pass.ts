/**
 * The context of a forward while one block runs over one batch of windows: the weights, the memory of intermediate activations, and the
 * observer of linear layers' inputs. All pieces receive it.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { ACTIVATION_CODE } from "../../kernels/activate.ts";
import type { DeviceWeights } from "../device_weights.ts";
import type { LinearGroup } from "../families/layer_specs.ts";
import type { Workspace } from "../workspace.ts";

/** An element-wise function after a linear layer. */
export type Activation = keyof typeof ACTIVATION_CODE;

/** Observes the input of a group of linear layers, (rows, inFeatures) f32, before the layers use it. Work that reads the input must be queued in the call. */
export type Tap = (group: LinearGroup, input: DeviceBuffer, rows: number) => void;

/** One block running over one batch. Row w·tokens + t of an activation belongs to token t of window w. */
export interface BlockPass {
  readonly backend: Backend;
  readonly weights: DeviceWeights;
  readonly workspace: Workspace;
  readonly windows: number;
  readonly tokens: number;
  /** The number of rows, windows · tokens. */
  readonly rows: number;
  readonly tap?: Tap;
  /** A group whose outputs are not used. The tap still observes its input, but the product is skipped. */
  readonly unused?: LinearGroup;
}
