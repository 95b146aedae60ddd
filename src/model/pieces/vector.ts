import type { DeviceBuffer } from "../../device/backend.ts";
import type { VectorSpec } from "../layer_specs.ts";
import type { BlockPass } from "./block_pass.ts";

/**
 * Queues the upload of vectors of the block, one after the other. Returns (the sum of their sizes) f32, valid until the same first vector is
 * uploaded again.
 */
export function vectorOnDevice(
  { backend, weights, workspace }: BlockPass,
  ...specs: readonly [VectorSpec, ...VectorSpec[]]
): DeviceBuffer {
  const values = Float32Array.from(specs.flatMap((spec) => [...weights.vector(spec)]));
  const buffer = workspace.buffer(specs[0].name, values.length);
  backend.write(buffer, 0, new Uint8Array(values.buffer));
  return buffer;
}
