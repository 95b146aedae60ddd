/**
 * What the pieces of a forward share while one block runs over one batch of windows: where the weights are,
 * where intermediate activations go, and who watches the inputs of linear layers. It does no arithmetic.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { ACTIVATION_CODE } from "../../kernels/activate.ts";
import type { DeviceWeights } from "../device_weights.ts";
import type { LinearGroup } from "../families/layer_specs.ts";
import type { Workspace } from "../workspace.ts";

/** An element-wise function after a linear layer. */
export type Activation = keyof typeof ACTIVATION_CODE;

/** Sees the input of a group of linear layers, (rows, inFeatures) f32, before it is used; to be read by work queued at once. */
export type Tap = (group: LinearGroup, input: DeviceBuffer, rows: number) => void;

/** One block over one batch. Row w·tokens + t of an activation belongs to token t of window w. */
export interface BlockPass {
  readonly backend: Backend;
  readonly weights: DeviceWeights;
  readonly workspace: Workspace;
  readonly windows: number;
  readonly tokens: number;
  /** windows · tokens. */
  readonly rows: number;
  readonly tap?: Tap;
  /** A group whose outputs nobody will use: its input is shown to the tap, its product is left out. */
  readonly unused?: LinearGroup;
}
