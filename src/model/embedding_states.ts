/**
 * Runs the layers that some families have between the embedding table and the first block: a projection (opt-350m) or a norm (BLOOM). The
 * result is read back to the CPU's memory, because the caller may store hidden states outside of device memory.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";
import { DeviceWeights } from "./device_weights.ts";
import type { LinearSpec, NormSpec } from "./layer_specs.ts";
import type { BlockPass } from "./pieces/block_pass.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";
import type { TensorSource } from "./checkpoint/tensor_source.ts";
import { ForwardWorkspace } from "./forward_workspace.ts";

/**
 * Projects embeddings to the size of the hidden states.
 * @param embeddings (rows, inFeatures) f32
 * @returns (rows, outFeatures) f32
 */
export function projectStates(
  backend: Backend,
  source: TensorSource,
  projection: LinearSpec,
  embeddings: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const rows = embeddings.length / projection.inFeatures;
  const layers = { rows, outFeatures: projection.outFeatures, linears: [projection], norms: [] };
  return runOnDevice(backend, source, layers, embeddings, (pass, x) => {
    const y = pass.workspace.buffer("projected", rows * projection.outFeatures);
    applyLinear(pass, projection, x, 0, rows, y);
    return y;
  });
}

/**
 * Normalises hidden states.
 * @param states (rows, size) f32
 * @returns (rows, size) f32
 */
export function normalizeStates(
  backend: Backend,
  source: TensorSource,
  norm: NormSpec,
  states: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const layers = { rows: states.length / norm.size, outFeatures: norm.size, linears: [], norms: [norm] };
  return runOnDevice(backend, source, layers, states, (pass, x) => normalize(pass, norm, x));
}

/** The layers to load, and the shape of the result, (rows, outFeatures). */
interface DeviceLayers {
  readonly rows: number;
  readonly outFeatures: number;
  readonly linears: readonly LinearSpec[];
  readonly norms: readonly NormSpec[];
}

/** Loads layers, uploads `inputs`, and reads back the buffer that `queueLayers` returns. */
async function runOnDevice(
  backend: Backend,
  source: TensorSource,
  { rows, outFeatures, linears, norms }: DeviceLayers,
  inputs: Float32Array<ArrayBuffer>,
  queueLayers: (
    pass: Pick<BlockPass, "backend" | "weights" | "workspace" | "rows">,
    x: DeviceBuffer,
  ) => DeviceBuffer,
): Promise<Float32Array<ArrayBuffer>> {
  const weights = await DeviceWeights.load(backend, source, { prefix: "", linears, norms });
  const workspace = new ForwardWorkspace(backend);
  try {
    const x = workspace.buffer("embedded", inputs.length);
    backend.write(x, 0, new Uint8Array(inputs.buffer, inputs.byteOffset, inputs.byteLength));
    const y = queueLayers({ backend, weights, workspace, rows }, x);
    return asFloat32(await backend.read(y, 0, rows * outFeatures * 4));
  } finally {
    workspace.destroy();
    weights.destroy();
  }
}
