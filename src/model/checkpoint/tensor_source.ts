/** The interface through which the network reads its weights, from the disk or from memory. */

import { ModelError } from "../../base/files/file_error.ts";
import {
  BYTES_PER_ELEMENT,
  bytesToFloats,
  type Dtype,
  type FloatDtype,
  floatsToBytes,
  isFloatDtype,
  sameShape,
  tensorBytes,
} from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";

export interface TensorShape {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Named tensors. Their bytes are read on demand. */
export interface TensorSource {
  has(name: string): boolean;
  /** @throws {ModelError} if there is no such tensor; the message names the most similar one */
  info(name: string): TensorShape;
  /**
   * Reads little-endian data of a tensor. The caller owns the returned array with its whole buffer, and may free it.
   * @throws {ModelError} if there is no such tensor
   */
  read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Checks that the dtype of a tensor is floating point and that its shape is `shape`.
 * @returns the dtype
 * @throws {ModelError} if there is no such tensor, or if its dtype or shape differs
 */
export function checkTensor(source: TensorSource, name: string, shape: readonly number[]): FloatDtype {
  const { dtype, shape: actual } = source.info(name);
  if (!isFloatDtype(dtype)) {
    throw new ModelError(`tensor ${name}: has dtype ${dtype}, needs F32, F16 or BF16`);
  }
  if (!sameShape(actual, shape)) {
    throw new ModelError(`tensor ${name}: has shape [${actual}], config.json says [${shape}]`);
  }
  return dtype;
}

/** @throws {ModelError} if the tensor `name` of the checkpoint in `folder` is missing, or if it has another dtype or shape */
export function requireTensor(
  source: TensorSource & { readonly folder: string },
  name: string,
  dtype: Dtype,
  shape: readonly number[],
): void {
  const info = source.info(name);
  if (info.dtype === dtype && sameShape(info.shape, shape)) return;
  throw new ModelError(
    `${source.folder}: ${name} must be ${dtype} [${shape}], not ${info.dtype} [${info.shape}]`,
  );
}

/** Reads a whole tensor. @throws {ModelError} if there is no such tensor */
export async function readTensor(source: TensorSource, name: string): Promise<HostTensor> {
  const { dtype, shape } = source.info(name);
  return { dtype, shape, data: await source.read(name, 0, tensorBytes(dtype, shape)) };
}

/** Reads `count` elements of a tensor from element `first` on. @throws {ModelError} if there is no such tensor */
export function readElements(
  source: TensorSource,
  name: string,
  first: number,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const size = BYTES_PER_ELEMENT[source.info(name).dtype];
  return source.read(name, first * size, count * size);
}

/** Returns a source of tensors in memory, to which more may be added later. */
export function memorySource(tensors: ReadonlyMap<string, HostTensor>): TensorSource {
  const find = (name: string) => {
    const tensor = tensors.get(name);
    if (!tensor) throw new ModelError(`tensor ${name}: is missing`);
    return tensor;
  };
  return {
    has: (name) => tensors.has(name),
    info: find,
    read: (name, byteOffset, byteLength) =>
      Promise.resolve(find(name).data.slice(byteOffset, byteOffset + byteLength)),
  };
}

/** Returns a source that reads the tensors in `replaced`, to which more may be added later, and all others from `source`. */
export function withReplacements(
  source: TensorSource,
  replaced: ReadonlyMap<string, HostTensor>,
): TensorSource {
  const inMemory = memorySource(replaced),
    sourceOf = (name: string) => replaced.has(name) ? inMemory : source;
  return {
    has: (name) => sourceOf(name).has(name),
    info: (name) => sourceOf(name).info(name),
    read: (name, byteOffset, byteLength) => sourceOf(name).read(name, byteOffset, byteLength),
  };
}

/**
 * Returns a source that presents some tensors in F32, so that their results are stored in F32 too.
 * @param names the tensors to present in F32, which must have a float dtype
 */
export function widenedSource(source: TensorSource, names: ReadonlySet<string>): TensorSource {
  return {
    has: (name) => source.has(name),
    info(name) {
      const info = source.info(name);
      return names.has(name) ? { dtype: "F32", shape: info.shape } : info;
    },
    async read(name, byteOffset, byteLength) {
      const { dtype } = source.info(name);
      if (!names.has(name) || !isFloatDtype(dtype)) return await source.read(name, byteOffset, byteLength);
      const share = BYTES_PER_ELEMENT[dtype] / BYTES_PER_ELEMENT.F32;
      const stored = await source.read(name, byteOffset * share, byteLength * share);
      return floatsToBytes(bytesToFloats(stored, dtype), "F32");
    },
  };
}

/** Checks the shape, the number of bytes and the dtype of a value for the tensor `name`. @throws {RangeError} naming the difference */
export function checkReplacement(name: string, tensor: HostTensor, { dtype, shape }: TensorShape): void {
  if (!sameShape(shape, tensor.shape)) {
    throw new RangeError(`replace ${name}: needs shape [${shape}], got [${tensor.shape}]`);
  }
  const needed = tensorBytes(tensor.dtype, shape);
  if (tensor.data.byteLength !== needed) {
    throw new RangeError(`replace ${name}: needs ${needed} bytes, got ${tensor.data.byteLength}`);
  }
  if (tensor.dtype !== dtype) {
    throw new RangeError(`replace ${name}: needs dtype ${dtype}, got ${tensor.dtype}`);
  }
}

/**
 * Rounds a float value for the tensor `name` to the dtype that the tensor has in `source`.
 * @throws {ModelError} if `source` has no tensor `name`
 * @throws {RangeError} in the cases of {@link checkReplacement}, except that both dtypes may be different float dtypes
 */
export function convertReplacement(source: TensorSource, name: string, tensor: HostTensor): HostTensor {
  const { dtype, shape } = source.info(name), isConverted = isFloatDtype(dtype) && isFloatDtype(tensor.dtype);
  checkReplacement(name, tensor, { dtype: isConverted ? tensor.dtype : dtype, shape });
  if (tensor.dtype === dtype || !isFloatDtype(dtype) || !isFloatDtype(tensor.dtype)) return tensor;
  return { dtype, shape, data: floatsToBytes(bytesToFloats(tensor.data, tensor.dtype), dtype) };
}
