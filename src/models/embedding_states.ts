/**
 * The steps between the embedding and the first block that some families have: a projection to the width of the hidden states (opt-350m)
 * and a norm (BLOOM). They run on the device, and the result is read back to the host, because the caller decides where the states are
 * stored.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";
import { DeviceWeights } from "./device_weights.ts";
import type { LinearSpec, NormSpec } from "./families/layer_specs.ts";
import type { BlockPass } from "./pieces/block_pass.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import { Workspace } from "./workspace.ts";

/** Projects hidden states. @param states (rows, inFeatures) f32 @returns (rows, outFeatures) f32 */
export function projectStates(
  backend: Backend,
  source: TensorSource,
  projection: LinearSpec,
  states: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const rows = states.length / projection.inFeatures;
  const extents = { rows, width: projection.outFeatures, linears: [projection], norms: [] };
  return throughDevice(backend, source, extents, states, (pass, x) => {
    const y = pass.workspace.take("projected", rows * projection.outFeatures);
    applyLinear(pass, projection, x, 0, rows, y);
    return y;
  });
}

/** Normalises hidden states. @param states (rows, size) f32 @returns (rows, size) f32 */
export function normalizeStates(
  backend: Backend,
  source: TensorSource,
  norm: NormSpec,
  states: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const extents = { rows: states.length / norm.size, width: norm.size, linears: [], norms: [norm] };
  return throughDevice(backend, source, extents, states, (pass, x) => normalize(pass, norm, x));
}

interface Extents {
  readonly rows: number;
  /** The width of the result. */
  readonly width: number;
  readonly linears: readonly LinearSpec[];
  readonly norms: readonly NormSpec[];
}

async function throughDevice(
  backend: Backend,
  source: TensorSource,
  { rows, width, linears, norms }: Extents,
  states: Float32Array<ArrayBuffer>,
  work: (
    pass: Pick<BlockPass, "backend" | "weights" | "workspace" | "rows">,
    x: DeviceBuffer,
  ) => DeviceBuffer,
): Promise<Float32Array<ArrayBuffer>> {
  const weights = await DeviceWeights.load(backend, source, { prefix: "", linears, norms });
  const workspace = new Workspace(backend);
  try {
    const x = workspace.take("embedded", states.length);
    backend.write(x, 0, new Uint8Array(states.buffer, states.byteOffset, states.byteLength));
    const y = work({ backend, weights, workspace, rows }, x);
    return asFloat32(await backend.read(y, 0, rows * width * 4));
  } finally {
    workspace.destroy();
    weights.destroy();
  }
}
