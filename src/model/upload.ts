/** Uploads tensors of a checkpoint to a device as f32. A 16-bit tensor is uploaded in its own dtype and converted on the device. */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import { freeArray } from "../device/host_memory.ts";
import { DTYPE_CODE, toFloat32 } from "../device/kernels/transfer/convert.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { readElements, type TensorSource } from "./checkpoint/tensor_source.ts";

/**
 * Uploads elements `first` … `first + count − 1` of a tensor.
 * @param dtype the dtype of the tensor
 * @returns (count) f32. The caller frees the buffer
 */
export async function uploadElements(
  backend: Backend,
  source: TensorSource,
  name: string,
  dtype: FloatDtype,
  first: number,
  count: number,
): Promise<DeviceBuffer> {
  const bytes = await readElements(source, name, first, count);
  if (dtype === "F32") {
    const target = backend.createBuffer(name, count * 4);
    backend.write(target, 0, bytes);
    freeArray(bytes);
    return target;
  }
  const raw = backend.createBuffer(`${name} raw`, bytes.byteLength);
  try {
    const target = backend.createBuffer(name, count * 4);
    backend.write(raw, 0, padToWords(bytes));
    freeArray(bytes);
    const params = { count, dtype: DTYPE_CODE[dtype], source_offset: 0, target_offset: 0 };
    backend.dispatch(toFloat32, { source: raw, target }, params);
    return target;
  } finally {
    raw.destroy();
  }
}

/** Pads an odd number of 16-bit elements to whole 4-byte words, because a backend writes whole words. */
function padToWords(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(bytes.byteLength + 2);
  padded.set(bytes);
  return padded;
}
