import type { DeviceBuffer } from "../../device/backend.ts";
import type { VectorSpec } from "../layer_specs.ts";
import type { BlockPass } from "./block_pass.ts";

/** Queues the upload of a vector of the block. Returns (size) f32, valid until the same vector is uploaded again. */
export function vectorOnDevice({ backend, weights, workspace }: BlockPass, spec: VectorSpec): DeviceBuffer {
  const buffer = workspace.buffer(spec.name, spec.size);
  backend.write(buffer, 0, new Uint8Array(Float32Array.from(weights.vector(spec)).buffer));
  return buffer;
}
