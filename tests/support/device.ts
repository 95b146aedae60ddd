/** Short functions that copy test data to and from a backend. */

import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";

/** Creates a buffer on the device with these values. */
export function upload(
  backend: Backend,
  values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
  label = "operand",
): DeviceBuffer {
  const buffer = backend.createBuffer(label, Math.max(4, values.byteLength));
  if (values.byteLength) {
    backend.write(buffer, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return buffer;
}

/** Reads a whole buffer as f32 elements. */
export async function downloadF32(
  backend: Backend,
  buffer: DeviceBuffer,
): Promise<Float32Array<ArrayBuffer>> {
  return new Float32Array((await backend.read(buffer, 0, buffer.byteLength)).buffer);
}

/** Reads a whole buffer as u32 elements. */
export async function downloadU32(backend: Backend, buffer: DeviceBuffer): Promise<Uint32Array<ArrayBuffer>> {
  return new Uint32Array((await backend.read(buffer, 0, buffer.byteLength)).buffer);
}
