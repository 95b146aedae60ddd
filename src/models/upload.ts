/** Uploads tensors of a checkpoint to a device as f32. 16-bit tensors are uploaded as they are and converted on the device. */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { DTYPE_CODE, toFloat32 } from "../kernels/convert.ts";
import { type FloatDtype, isFloatDtype } from "../tensor/dtype.ts";
import { ModelError } from "../files/model_error.ts";
import { readElements, type TensorSource } from "../checkpoint/tensor_source.ts";

/**
 * Checks that a tensor is floating point and has `shape`, and returns its dtype.
 * @throws {ModelError} if there is no such tensor, or if its dtype or shape differs
 */
export function checkTensor(source: TensorSource, name: string, shape: readonly number[]): FloatDtype {
  const { dtype, shape: actual } = source.info(name);
  if (!isFloatDtype(dtype)) {
    throw new ModelError(`tensor ${name}: has dtype ${dtype}, needs F32, F16 or BF16`);
  }
  if (actual.length !== shape.length || actual.some((extent, i) => extent !== shape[i])) {
    throw new ModelError(`tensor ${name}: has shape [${actual}], config.json says [${shape}]`);
  }
  return dtype;
}

/** Uploads elements `first` … `first + count − 1` of a tensor of `dtype` as f32. The caller frees the buffer. */
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
    return target;
  }
  const raw = backend.createBuffer(`${name} raw`, bytes.byteLength);
  try {
    const target = backend.createBuffer(name, count * 4);
    backend.write(raw, 0, padToWords(bytes));
    const params = { count, dtype: DTYPE_CODE[dtype], source_offset: 0, target_offset: 0 };
    backend.dispatch(toFloat32, { source: raw, target }, params);
    return target;
  } finally {
    raw.destroy();
  }
}

/** Pads to whole 4-byte words, which writes need. An odd number of 16-bit elements ends in half a word. */
function padToWords(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(bytes.byteLength + 2);
  padded.set(bytes);
  return padded;
}
