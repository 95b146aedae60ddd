/** Named tensors read on demand: a checkpoint on disk, or one with some tensors replaced. */

import type { Dtype } from "../tensor/dtype.ts";
import { BYTES_PER_ELEMENT } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { tensorBytes } from "../tensor/shape.ts";

/** A tensor's type and extents, without its data. */
export interface TensorShape {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Named tensors whose bytes are read when asked for. */
export interface TensorSource {
  has(name: string): boolean;
  /** @throws {ModelError} no such tensor: names the nearest */
  info(name: string): TensorShape;
  /** `byteLength` of the tensor's raw bytes from `byteOffset`, in memory of the caller's own. @throws {ModelError} no such tensor */
  read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** The whole of a tensor. @throws {ModelError} no such tensor */
export async function readTensor(source: TensorSource, name: string): Promise<HostTensor> {
  const { dtype, shape } = source.info(name);
  return { dtype, shape, data: await source.read(name, 0, tensorBytes(dtype, shape)) };
}

/** Elements `first` … `first + count − 1` of a tensor, raw. @throws {ModelError} no such tensor */
export function readElements(
  source: TensorSource,
  name: string,
  first: number,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const size = BYTES_PER_ELEMENT[source.info(name).dtype];
  return source.read(name, first * size, count * size);
}

/** `source` with the tensors in `replaced` in the place of its own; the map may change later. */
export function overlay(source: TensorSource, replaced: ReadonlyMap<string, HostTensor>): TensorSource {
  return {
    has: (name) => replaced.has(name) || source.has(name),
    info: (name) => replaced.get(name) ?? source.info(name),
    read: (name, byteOffset, byteLength) => {
      const tensor = replaced.get(name);
      if (!tensor) return source.read(name, byteOffset, byteLength);
      return Promise.resolve(tensor.data.slice(byteOffset, byteOffset + byteLength));
    },
  };
}
